"""Captured tests: one trace or the traces of a session in, a test file and its cassette out."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from pandaprobe_otel.replay.cannot_capture import CannotCapture
from pandaprobe_otel.replay.capture.findings import Finding, findings
from pandaprobe_otel.replay.capture.ordered_trace import StoredTrace
from pandaprobe_otel.replay.capture.pytest_file import Case, Turn, cassette_beside, held_in, text_of
from pandaprobe_otel.replay.capture.requirements import check, warnings_of
from pandaprobe_otel.replay.capture.scrubbed_cassette import scrubbed
from pandaprobe_otel.replay.capture.test_entry import Entry, arguments_of, entry_of
from pandaprobe_otel.replay.capture.trace_cassette import cassette_of
from pandaprobe_otel.replay.cassette import save
from pandaprobe_otel.replay.interactions import Cassette, Interaction, ToolCall
from pandaprobe_otel.replay.scrubbing import Scrubber

NEVER_RAN: Final = {"it never ran": "in the trace"}
"""Arguments that no call has: a tool of this name is known, so it does not run; its first call ends the recording."""
OWN_CHOICE: Final = (
    "no step of the program failed, and it did what the model asked for: if the failure is the model's own choice, no "
    "recorded answer can mend it; the test needs --pandaprobe-diverge=live"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Captured:
    """The files that were written.

    Attributes:
        notes: What whoever runs it has to know.
    """

    test: Path
    cassette: Path
    calls: int
    tools: int
    found: tuple[Finding, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """Options of a captured test.

    Attributes:
        entry: The program's function as `module:function`, where the trace does not name it.
        live_tools: Tools that run: True for all, or names.
        folder: Where the program's modules are; default: the current folder.
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


def capture(traces: Sequence[StoredTrace], test: Path, wishes: Wishes) -> Captured:
    """Write the test of a trace, or of the traces of a session in their order, and its cassette.

    Raises:
        CannotCapture: No test can be made; the text says why.
        ValueError: The entry is none.
        FileExistsError: The test is there already.
        RecordingError, OSError: Something cannot be written.
    """
    if test.exists():
        raise FileExistsError(f"{test} is there already; name another file, or remove it")
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
    cleaner = Scrubber()
    save(cassette_beside(test), scrubbed(cassette, cleaner))
    test.parent.mkdir(parents=True, exist_ok=True)
    test.write_text(cleaner.text(text_of(case)), encoding="utf-8")
    return Captured(
        test=test,
        cassette=cassette_beside(test),
        calls=len(cassette.interactions),
        tools=sum(call.arguments is not NEVER_RAN for call in cassette.tools),
        found=found,
        notes=tuple(_notes(parts)),
    )


def name_of(test: Path) -> str:
    """The name of the function in a file of one test."""
    plain = re.sub(r"\W+", "_", test.stem).strip("_") or "captured"
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
    """The calls that are answered, and the tools that a mended program will call for the first time."""
    yield from (call for call in played if call.name not in live)
    known = {call.name for call in played}
    for name in dict.fromkeys(one.tool for one in found):
        if name is not None and name not in known and name not in live:
            yield ToolCall(name, NEVER_RAN)


def _arguments(trace: StoredTrace, entry: Entry) -> tuple[str, ...]:
    try:
        return arguments_of(trace, entry)
    except CannotCapture as error:
        return (f"...,  # fill in: {error}",)


def _failing(parts: Sequence[_Part]) -> int:
    """The place of the first part that went wrong; the last one without."""
    return next((at for at, part in enumerate(parts) if part.found), len(parts) - 1)


def _joined(parts: Sequence[_Part]) -> tuple[Cassette, tuple[Finding, ...]]:
    """The cassette of all parts, one after the other, and what went wrong in the first that did."""
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
    """The calls that no other one of these comes after."""
    followed = {number for one in interactions for number in one.after}
    return tuple(one.call for one in interactions if one.call not in followed)


def _notes(parts: Sequence[_Part]) -> Iterator[str]:
    entry = parts[0].turn.entry
    if entry.module is None:
        yield f"the trace does not name the program: replace {entry.name}() in the test, or capture with --entry"
    if any(argument.startswith("...") for part in parts for argument in part.turn.arguments):
        yield "an argument of the program could not be read: fill in the line"
    for part in parts:
        yield from warnings_of(part.trace)
        failed = [call.name for call in part.cassette.tools if call.error is not None]
        for name in dict.fromkeys(failed):
            yield f"{name} raises what it raised; if the tool itself is to be mended, let it run: --live-tools {name}"
    if not any(part.found for part in parts):
        yield OWN_CHOICE
