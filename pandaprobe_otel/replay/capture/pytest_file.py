"""Text of a captured test: the call of the program, assertions that held in the trace, and assertions that failed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pandaprobe_otel.replay.capture.findings import Finding
from pandaprobe_otel.replay.capture.source_text import LINE, arguments_text, literal, printable
from pandaprobe_otel.replay.capture.stored_trace import StoredTrace
from pandaprobe_otel.replay.capture.test_entry import Entry
from pandaprobe_otel.traces.records import SpanRecord

FILL_IN: Final = "...,  # fill in: "
_HELD: Final = "held in the trace"
_MAX_HELD: Final = 12
NOT_FILLED_IN: Final = (
    "no step of the trace failed. Assert here what the program should have done, and set ends_at= to the last model "
    "call before that"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One call of the program with its arguments. A test of a session has several."""

    entry: Entry
    arguments: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Content of a test.

    Attributes:
        tools: The marker's argument: True, or the names of the tools that are played back.
        ends_at: The last model call that must be made; None: all calls.
    """

    name: str
    trace: StoredTrace
    turns: Sequence[Turn]
    cassette: str
    tools: bool | tuple[str, ...]
    ends_at: int | None
    held: Sequence[str]
    found: Sequence[Finding]


def text_of(case: Case) -> str:
    """Return the text of the file."""
    lines = [f'"""{_headline(case)}"""', "", "from __future__ import annotations", ""]
    lines += _imports(case)
    lines += ["", ""]
    lines += _stubs(case)
    lines += _markers(case)
    lines += [f"def {case.name}(probe: Probe, pandaprobe_recording: Recording) -> None:"]
    lines += [f'    """{_sentence(case)}"""']
    lines += ["    with pandaprobe_recording.to_the_end():"]
    lines += [f"        {line}" for turn in case.turns for line in _call(turn)]
    lines += [f"    {line}" for line in _assertions(case)]
    if any("json.loads(" in line for line in lines):
        lines.insert(lines.index("import pytest"), "import json")
    return "\n".join(lines) + "\n"


def held_in(trace: StoredTrace, *, until: int) -> list[str]:
    """Return the assertions that held, about tools that ran before the failure."""
    calls = trace.model_calls
    before = [span for span in trace.played_tools if until >= len(calls) or span.started < calls[until].started]
    good = [span for span in before if span.error is None and span.outcome is None and trace.ended_before(span) < until]
    return list(dict.fromkeys(_held(span) for span in good))[:_MAX_HELD]


def _held(span: SpanRecord) -> str:
    arguments = span.arguments
    told = f".with_args({arguments_text(arguments)})" if arguments and _is_short(arguments_text(arguments)) else ""
    return f"probe.spans.tool({literal(span.name)}){told}.succeeded()"


def _is_short(text: str) -> bool:
    return len(text) <= LINE - 50


def _headline(case: Case) -> str:
    told = case.found[0].told if case.found else f"{case.trace.root.name} as it was"
    return _documented(f"Captured from trace {case.trace.trace_id}: {told}.")


def _sentence(case: Case) -> str:
    return _documented(f"{case.trace.root.name} does not repeat: {case.found[0].told}." if case.found else "As it was.")


def _documented(text: str) -> str:
    plain = printable(text).replace("\\", "/").replace('"', "'")
    return plain if len(plain) <= LINE - 10 else f"{plain[: LINE - 11]}…"


def _imports(case: Case) -> list[str]:
    lines = ["import asyncio", ""] if any(turn.entry.is_coroutine for turn in case.turns) else []
    lines += ["import pytest", ""]
    modules = {(turn.entry.module, turn.entry.name) for turn in case.turns if turn.entry.module is not None}
    lines += [f"from {module} import {name}" for module, name in sorted(modules)]
    lines += ["from pandaprobe_otel.evals import Probe", "from pandaprobe_otel.replay.recording import Recording"]
    return lines


def _stubs(case: Case) -> list[str]:
    """Return a stub to fill in for each unknown function."""
    names = dict.fromkeys(turn.entry.name for turn in case.turns if turn.entry.module is None)
    lines: list[str] = []
    for name in names:
        lines += [
            f"def {name}(*args: object, **kwargs: object) -> object:",
            '    """Call the program: replace this by an import of it."""',
            f'    raise NotImplementedError("import {name} from your program, or capture with --entry module:{name}")',
            "",
            "",
        ]
    return lines


def _markers(case: Case) -> list[str]:
    tools = literal(list(case.tools)) if isinstance(case.tools, tuple) else repr(case.tools)
    ends = f", ends_at={case.ends_at}" if case.ends_at is not None else ""
    whole = f"@pytest.mark.pandaprobe_cassette({literal(case.cassette)}, tools={tools}{ends})"
    return ["@pytest.mark.pandaprobe", whole]


def _call(turn: Turn) -> list[str]:
    entry = turn.entry
    lines = _called(entry.name, turn.arguments)
    if entry.is_generator and entry.is_coroutine:
        loop = [*lines[:-1], f"{lines[-1]}:"]
        run = ["async def run() -> None:", f"    async for _ in {loop[0]}", *(f"    {line}" for line in loop[1:])]
        return [*run, "        pass", "", "asyncio.run(run())"]
    if entry.is_generator:
        return _within("list", lines)
    if entry.is_coroutine:
        return (
            ["asyncio.run(", *(f"    {line}" for line in lines), ")"]
            if len(lines) > 1
            else [f"asyncio.run({lines[0]})"]
        )
    return lines


def called(turn: Turn) -> str:
    """Return the module and the call of a turn on one line, shortened."""
    module = f"{turn.entry.module}:" if turn.entry.module is not None else ""
    return printable(f"{module}{turn.entry.name}({_comment(', '.join(turn.arguments))})")


def _within(name: str, lines: list[str]) -> list[str]:
    return [f"{name}(", *(f"    {line}" for line in lines), ")"] if len(lines) > 1 else [f"{name}({lines[0]})"]


def _called(name: str, arguments: Sequence[str]) -> list[str]:
    """Return a call on one line, or with one line per argument."""
    whole = f"{name}({', '.join(arguments)})"
    if len(whole) <= LINE - 24 and not any(one.startswith(FILL_IN) for one in arguments):
        return [whole]
    return [f"{name}(", *(f"    {one}" if one.startswith(FILL_IN) else f"    {one}," for one in arguments), ")"]


def _assertions(case: Case) -> list[str]:
    lines = [line if len(line) > LINE - 8 - len(_HELD) else f"{line}  # {_HELD}" for line in case.held]
    for one in case.found:
        lines += [f"# to fix: {_comment(one.told)}", one.asserts]
    if not case.found:
        lines += [f"pytest.fail({literal(NOT_FILLED_IN)})"]
    return lines


def _comment(text: str) -> str:
    plain = printable(text)
    return plain if len(plain) <= LINE - 20 else f"{plain[: LINE - 21]}…"


def path_of_cassette(test: Path) -> Path:
    """Return the path of a test's cassette: in the folder `cassettes` beside it."""
    return test.parent / "cassettes" / f"{test.stem}.yaml"
