"""Captured tests: from one trace, or the traces of a session, to a test file and its cassette."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from textwrap import indent
from typing import Final

from pandaprobe_otel.replay.capture.findings import Finding, findings
from pandaprobe_otel.replay.capture.requirements import check, warnings_of
from pandaprobe_otel.replay.capture.source_text import LINE, arguments_text, literal, shortened
from pandaprobe_otel.replay.capture.stored_trace import CannotCapture, StoredTrace
from pandaprobe_otel.replay.capture.test_entry import Entry, arguments_of, entry_of
from pandaprobe_otel.replay.capture.trace_cassette import cassette_of, scrubbed
from pandaprobe_otel.replay.cassette import save
from pandaprobe_otel.replay.interactions import Cassette, Interaction, ToolCall
from pandaprobe_otel.replay.scrubbing import Scrubber
from pandaprobe_otel.traces.records import SpanRecord

NEVER_RAN: Final = {"it never ran": "in the trace"}
"""Arguments that no real call has. A recorded call with them makes its tool known: the tool does not run, and its first
call ends the recording.
"""
OWN_CHOICE: Final = (
    "no step of the program failed, and it did what the model asked for. If the model's choice is the failure, "
    "recorded answers cannot fix it: run the test with --pandaprobe-diverge=live"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Captured:
    """The written files.

    Attributes:
        notes: Hints for the person who runs the test.
        runs: The call of the program in the test.
    """

    test: Path
    cassette: Path
    calls: int
    tools: int
    found: tuple[Finding, ...]
    notes: tuple[str, ...]
    runs: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """One run of the program within a test. A test of a session has several."""

    trace: StoredTrace
    cassette: Cassette
    found: tuple[Finding, ...]
    entry: Entry
    arguments: tuple[str, ...]

    @property
    def runs(self) -> str:
        """The module and the call of the program, on one line."""
        module = f"{self.entry.module}:" if self.entry.module is not None else ""
        return f"{module}{self.entry.name}({shortened(', '.join(self.arguments), LINE - 20)})"


def capture(
    traces: Sequence[StoredTrace],
    test: Path,
    *,
    entry: str | None = None,
    live_tools: bool | Collection[str] = False,
    folder: Path | None = None,
    shows: Callable[[str], None] | None = None,
) -> Captured:
    """Write the test of a trace, or of the traces of a session in order, and its cassette.

    Args:
        traces: The traces.
        test: The file of the test.
        entry: The program's function as `module:function`, if the trace does not name it.
        live_tools: The tools that run: True for all, or names.
        folder: The folder of the program's modules. Default: the current folder.
        shows: Called with the call of the program before anything is written.

    Raises:
        CannotCapture: No test can be made; the text names the reason.
        ValueError: The entry is invalid.
        FileExistsError: The test exists already.
        RecordingError, OSError: A file cannot be written.
    """
    if test.exists():
        raise FileExistsError(f"{test} exists already: name another file, or remove it")
    for trace in traces:
        check(trace)
    parts = [_part(trace, entry, live_tools, folder) for trace in sorted(traces, key=lambda trace: trace.root.started)]
    cassette, found = _joined(parts)
    runs = "; ".join(dict.fromkeys(part.runs for part in parts))
    if shows is not None:
        shows(runs)
    names = list(dict.fromkeys(call.name for call in cassette.tools))
    cleaner = Scrubber()
    text = cleaner.text(_text_of(test, parts, found, tools=(names if live_tools else True) if names else False))
    try:
        compile(text, "captured test", "exec")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise CannotCapture(f"the text of its test is not valid Python ({error}): report this") from None
    save(path_of_cassette(test), scrubbed(cassette, cleaner))
    test.parent.mkdir(parents=True, exist_ok=True)
    test.write_text(text, encoding="utf-8")
    return Captured(
        test=test,
        cassette=path_of_cassette(test),
        calls=len(cassette.interactions),
        tools=sum(call.arguments is not NEVER_RAN for call in cassette.tools),
        found=found,
        notes=tuple(_notes(parts)),
        runs=runs,
    )


def path_of_cassette(test: Path) -> Path:
    """Return the path of a test's cassette: in the folder `cassettes` beside it."""
    return test.parent / "cassettes" / f"{test.stem}.yaml"


def _part(trace: StoredTrace, given: str | None, live_tools: bool | Collection[str], folder: Path | None) -> _Part:
    cassette = cassette_of(trace, plays_tools=live_tools is not True)
    live: Collection[str] = () if isinstance(live_tools, bool) else live_tools
    found = tuple(findings(trace))
    tools = () if live_tools is True else tuple(_tools(cassette.tools, found, live))
    entry = entry_of(trace, given=given, folder=folder)
    try:
        arguments = arguments_of(trace, entry)
    except CannotCapture as error:
        arguments = (f"{_FILL_IN}{shortened(str(error))}",)
    return _Part(trace=trace, cassette=replace(cassette, tools=tools), found=found, entry=entry, arguments=arguments)


def _tools(played: Sequence[ToolCall], found: Sequence[Finding], live: Collection[str]) -> Iterator[ToolCall]:
    """Return the calls to play back, and the tools that a fixed program will call for the first time."""
    yield from (call for call in played if call.name not in live)
    known = {call.name for call in played}
    for name in dict.fromkeys(one.tool for one in found):
        if name is not None and name not in known and name not in live:
            yield ToolCall(name, NEVER_RAN)


def _failing(parts: Sequence[_Part]) -> int:
    """Return the index of the first part that failed, or of the last one if none did."""
    return next((at for at, part in enumerate(parts) if part.found), len(parts) - 1)


def _joined(parts: Sequence[_Part]) -> tuple[Cassette, tuple[Finding, ...]]:
    """Return the cassette of all parts in sequence, and the failures of the first part with failures."""
    interactions: list[Interaction] = []
    for part in parts:
        before = len(interactions)
        ends = _last_of(interactions)
        for one in part.cassette.interactions:
            after = tuple(number + before for number in one.after) or ends
            interactions.append(replace(one, call=one.call + before, after=after))
    failing = _failing(parts)
    before = sum(len(part.cassette.interactions) for part in parts[:failing])
    found = tuple(replace(one, after=one.after + before) for one in parts[failing].found)
    tools = tuple(call for part in parts for call in part.cassette.tools)
    return replace(parts[0].cassette, interactions=tuple(interactions), tools=tools), found


def _last_of(interactions: Sequence[Interaction]) -> tuple[int, ...]:
    """Return the last calls. Several calls are last if they ran concurrently."""
    followed = {number for one in interactions for number in one.after}
    return tuple(one.call for one in interactions if one.call not in followed)


def _notes(parts: Sequence[_Part]) -> Iterator[str]:
    entry = parts[0].entry
    if entry.refused is not None:
        yield (
            f"the trace names {entry.refused}, which is no function of a file in this folder: a test must not run "
            f"what a trace names. If it is your program: --entry {entry.refused}"
        )
    elif entry.module is None:
        yield f"the trace does not name the program: replace {entry.name}() in the test, or capture with --entry"
    if any(argument.startswith(_FILL_IN) for part in parts for argument in part.arguments):
        yield "an argument of the program could not be read: fill in the line"
    for part in parts:
        yield from warnings_of(part.trace)
        failed = [call.name for call in part.cassette.tools if call.error is not None]
        for name in dict.fromkeys(failed):
            yield f"{name} raises the recorded exception. If the tool is at fault, let it run: --live-tools {name}"
    if not any(part.found for part in parts):
        yield OWN_CHOICE


# -- the text of the test ----------------------------------------------------------------------------------------------

_FILL_IN: Final = "...,  # fill in: "
_HELD: Final = "held in the trace"
_MAX_HELD: Final = 12
_NOT_FILLED_IN: Final = (
    "no step of the trace failed. Assert here what the program should have done, and set ends_at= to the last model "
    "call before that"
)
_TEST: Final = '''"""{headline}"""

from __future__ import annotations

{imports}


{stubs}@pytest.mark.pandaprobe
@pytest.mark.pandaprobe_cassette({cassette}, tools={tools}{ends})
def {name}(probe: Probe, pandaprobe_recording: Recording) -> None:
    """{sentence}"""
    with pandaprobe_recording.to_the_end():
{calls}
{assertions}
'''
_STUB: Final = '''def {0}(*args: object, **kwargs: object) -> object:
    """Call the program: replace this by an import of it."""
    raise NotImplementedError("import {0} from your program, or capture with --entry module:{0}")


'''


def _text_of(test: Path, parts: Sequence[_Part], found: Sequence[Finding], *, tools: bool | list[str]) -> str:
    """Return the text of the file: the call of the program, assertions that held, and assertions that failed."""
    trace, entries = parts[0].trace, [part.entry for part in parts]
    name = re.sub(r"\W+", "_", test.stem, flags=re.ASCII).strip("_") or "captured"
    calls = [_call(part.entry, part.arguments) for part in parts]
    held = [line for part in parts[: _failing(parts) + 1] for line in _held_in(part)]
    assertions = [line if len(line) > LINE - 8 - len(_HELD) else f"{line}  # {_HELD}" for line in held]
    for one in found:
        assertions += [f"# to fix: {shortened(one.told, LINE - 20)}", one.asserts]
    if not found:
        assertions += [f"pytest.fail({literal(_NOT_FILLED_IN)})"]
    is_deep = any("json.loads(" in line for line in (*calls, *assertions))
    imports = ["import asyncio\n"] if any(entry.is_coroutine for entry in entries) else []
    imports += ["import json\n"] if is_deep else []
    imports += ["import pytest\n"]
    imports += sorted({f"from {entry.module} import {entry.name}" for entry in entries if entry.module is not None})
    imports += ["from pandaprobe_otel.evals import Probe", "from pandaprobe_otel.replay.recording import Recording"]
    told = found[0].told if found else ""
    return _TEST.format(
        headline=_documented(f"Captured from trace {trace.trace_id}: {told or f'{trace.root.name} as it was'}."),
        sentence=_documented(f"{trace.root.name} does not repeat: {told}." if told else "As it was."),
        imports="\n".join(imports),
        stubs="".join(map(_STUB.format, dict.fromkeys(entry.name for entry in entries if entry.module is None))),
        cassette=literal(f"cassettes/{test.stem}.yaml"),
        tools=literal(tools),
        ends=f", ends_at={found[0].after}" if found else "",
        name=name if name.startswith("test") else f"test_{name}",
        calls=indent("\n".join(calls), "        "),
        assertions=indent("\n".join(assertions), "    "),
    )


def _held_in(part: _Part) -> list[str]:
    """Return the assertions that held, about tools that ran before the failure."""
    trace, calls = part.trace, part.trace.model_calls
    until = part.found[0].after if part.found else len(calls)
    before = [span for span in trace.played_tools if until >= len(calls) or span.started < calls[until].started]
    good = [span for span in before if span.error is None and span.outcome is None and trace.ended_before(span) < until]
    return list(dict.fromkeys(map(_held, good)))[:_MAX_HELD]


def _held(span: SpanRecord) -> str:
    arguments = arguments_text(span.arguments) if span.arguments else ""
    told = f".with_args({arguments})" if arguments and len(arguments) <= LINE - 50 else ""
    return f"probe.spans.tool({literal(span.name)}){told}.succeeded()"


def _documented(text: str) -> str:
    return shortened(text.replace("\\", "/").replace('"', "'"), LINE - 10)


def _call(entry: Entry, arguments: Sequence[str]) -> str:
    """Return a call on one line, or with one line per argument."""
    call = f"{entry.name}({', '.join(arguments)})"
    if len(call) > LINE - 24 or any(one.startswith(_FILL_IN) for one in arguments):
        lines = (f"    {one}" if one.startswith(_FILL_IN) else f"    {one}," for one in arguments)
        call = "\n".join([f"{entry.name}(", *lines, ")"])
    if entry.is_generator and entry.is_coroutine:
        return f"async def run() -> None:\n    async for _ in {call}:\n        pass\n\nasyncio.run(run())"
    if entry.is_generator:
        return f"list({call})"
    return f"asyncio.run({call})" if entry.is_coroutine else call
