"""Captured tests: from one trace, or the traces of a session, to a test file and its cassette."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from pandaprobe_otel.replay.capture.findings import Finding, findings
from pandaprobe_otel.replay.capture.pytest_file import FILL_IN, Case, Turn, called, held_in, path_of_cassette, text_of
from pandaprobe_otel.replay.capture.requirements import check, warnings_of
from pandaprobe_otel.replay.capture.source_text import printable
from pandaprobe_otel.replay.capture.stored_trace import CannotCapture, StoredTrace
from pandaprobe_otel.replay.capture.test_entry import Entry, arguments_of, entry_of
from pandaprobe_otel.replay.capture.trace_cassette import cassette_of, scrubbed
from pandaprobe_otel.replay.cassette import save
from pandaprobe_otel.replay.interactions import Cassette, Interaction, ToolCall
from pandaprobe_otel.replay.scrubbing import Scrubber

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
    runs: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """Options of a captured test.

    Attributes:
        entry: The program's function as `module:function`, if the trace does not name it.
        live_tools: The tools that run: True for all, or names.
        folder: The folder of the program's modules. Default: the current folder.
    """

    entry: str | None = None
    live_tools: bool | Collection[str] = False
    folder: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """One run of the program within a test."""

    trace: StoredTrace
    cassette: Cassette
    found: tuple[Finding, ...]
    held: tuple[str, ...]
    turn: Turn


def capture(
    traces: Sequence[StoredTrace], test: Path, wishes: Wishes, *, shows: Callable[[str], None] | None = None
) -> Captured:
    """Write the test of a trace, or of the traces of a session in order, and its cassette.

    `shows` gets the call of the program before anything is written.

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
    parts = [_part(trace, wishes) for trace in sorted(traces, key=lambda one: one.root.started)]
    cassette, found = _joined(parts)
    names = tuple(dict.fromkeys(call.name for call in cassette.tools))
    case = Case(
        name=name_of(test),
        trace=parts[0].trace,
        turns=[part.turn for part in parts],
        cassette=f"cassettes/{test.stem}.yaml",
        tools=(names if wishes.live_tools else True) if names else False,
        ends_at=found[0].after if found else None,
        held=[line for part in parts[: _failing(parts) + 1] for line in part.held],
        found=found,
    )
    runs = "; ".join(dict.fromkeys(map(called, case.turns)))
    if shows is not None:
        shows(runs)
    cleaner = Scrubber()
    text = cleaner.text(text_of(case))
    _check_code(text)
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


def _check_code(text: str) -> None:
    """Raise CannotCapture for a file that is not Python, rather than write it."""
    try:
        compile(text, "captured test", "exec")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise CannotCapture(f"the text of its test is not valid Python ({error}): report this") from None


def name_of(test: Path) -> str:
    """Return the name of the function in a file with one test."""
    plain = re.sub(r"\W+", "_", test.stem, flags=re.ASCII).strip("_") or "captured"
    return plain if plain.startswith("test") else f"test_{plain}"


def _part(trace: StoredTrace, wishes: Wishes) -> _Part:
    cassette = cassette_of(trace, plays_tools=wishes.live_tools is not True)
    live: Collection[str] = () if isinstance(wishes.live_tools, bool) else wishes.live_tools
    found = tuple(findings(trace))
    tools = () if wishes.live_tools is True else tuple(_tools(cassette.tools, found, live))
    entry = entry_of(trace, given=wishes.entry, folder=wishes.folder)
    return _Part(
        trace=trace,
        cassette=replace(cassette, tools=tools),
        found=found,
        held=tuple(held_in(trace, until=found[0].after if found else len(trace.model_calls))),
        turn=Turn(entry=entry, arguments=_arguments(trace, entry)),
    )


def _tools(played: Sequence[ToolCall], found: Sequence[Finding], live: Collection[str]) -> Iterator[ToolCall]:
    """Return the calls to play back, and the tools that a fixed program will call for the first time."""
    yield from (call for call in played if call.name not in live)
    known = {call.name for call in played}
    for name in dict.fromkeys(one.tool for one in found):
        if name is not None and name not in known and name not in live:
            yield ToolCall(name, NEVER_RAN)


def _arguments(trace: StoredTrace, entry: Entry) -> tuple[str, ...]:
    try:
        return arguments_of(trace, entry)
    except CannotCapture as error:
        return (f"{FILL_IN}{printable(str(error))}",)


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
    entry = parts[0].turn.entry
    if entry.refused is not None:
        yield (
            f"the trace names {entry.refused}, which is no function of a file in this folder: a test must not run "
            f"what a trace names. If it is your program: --entry {entry.refused}"
        )
    elif entry.module is None:
        yield f"the trace does not name the program: replace {entry.name}() in the test, or capture with --entry"
    if any(argument.startswith(FILL_IN) for part in parts for argument in part.turn.arguments):
        yield "an argument of the program could not be read: fill in the line"
    for part in parts:
        yield from warnings_of(part.trace)
        failed = [call.name for call in part.cassette.tools if call.error is not None]
        for name in dict.fromkeys(failed):
            yield f"{name} raises the recorded exception. If the tool is at fault, let it run: --live-tools {name}"
    if not any(part.found for part in parts):
        yield OWN_CHOICE
