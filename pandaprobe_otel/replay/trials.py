"""Trials of a recorded program: it runs once for each fault at each place, and either recovers or does not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal, get_args

from pandaprobe_otel.errors import RecordingError
from pandaprobe_otel.evals.recorder import instrumentation
from pandaprobe_otel.replay import fault
from pandaprobe_otel.replay.cassette import load
from pandaprobe_otel.replay.divergence import Divergence
from pandaprobe_otel.replay.fault import Fault, Kind, Model
from pandaprobe_otel.replay.fork.rerun import called
from pandaprobe_otel.replay.interactions import Cassette
from pandaprobe_otel.replay.recording import Diverge, Recording, RecordingOptions

Outcome = Literal["survived", "failed", "undecided"]
"""`survived`: the program ended as it should. `failed`: it raised an exception, or the check did. `undecided`: the
recording has no answer to the calls that the program made after the fault.
"""
KINDS: Final = get_args(Kind)
_OK: Final = range(200, 300)


@dataclass(frozen=True, slots=True)
class Trial:
    """One run of the program with one fault. `reason` is empty if it survived."""

    fault: Fault
    outcome: Outcome
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A recorded program.

    Attributes:
        cassette: The file of its recording.
        entry: The function that runs it. Coroutine functions and generators are run to the end.
        arguments: The function's arguments: by name, by position, or a single one.
        check: A function of the entry's result. The program has not recovered if it raises or returns False.
        live_tools: Names of tools that may run. All others are only played back.
        model: A scripted model that answers unknown requests after a fault.
        diverge: Otherwise, the reaction to them: `accept` (the nearest recorded answer) or `live`.
    """

    cassette: Path
    entry: Callable[..., Any]
    arguments: Any = None
    check: Callable[[Any], Any] | None = None
    live_tools: Collection[str] = ()
    model: Model | None = None
    diverge: Diverge = "accept"

    def run(self, *faults: Fault) -> None:
        """Run the program. Raises its exception, Divergence, RecordingError, or AssertionError of the check."""
        options = RecordingOptions(
            path=self.cassette.absolute(),
            mode="none",
            tools=True,
            live_tools=self.live_tools,
            faults=faults,
            model=self.model if faults else None,
            diverge=self.diverge if faults else "fail",
        )
        result: Any = None
        with Recording(options):
            result = called(self.entry, self.arguments)
        if self.check is not None and self.check(result) is False:
            raise AssertionError("the check returned False")


_OF_MODELS: Final = (
    ("timeout", fault.timeout),
    ("http", partial(fault.http, 429)),
    ("http", partial(fault.http, 500)),
    ("truncated", fault.truncated),
    ("empty", fault.empty),
)
_OF_TOOLS: Final = (("timeout", fault.timeout), ("error", fault.error), ("empty", fault.empty))


def faults_in(cassette: Cassette, *, kinds: Collection[str] = KINDS, times: int = 1) -> Iterator[Fault]:
    """Yield each kind of fault at each model call that had an answer, and at each tool call, in their order."""
    for one in cassette.interactions:
        if one.answer.status in _OK:
            yield from (make(call=one.call, times=times) for kind, make in _OF_MODELS if kind in kinds)
    numbers: Counter[str] = Counter()
    for call in cassette.tools:
        numbers[call.name] += 1
        at: dict[str, Any] = {"tool": call.name, "call": numbers[call.name], "times": times}
        yield from (make(**at) for kind, make in _OF_TOOLS if kind in kinds)


def trials_of(program: Program, *, kinds: Collection[str] = KINDS, times: int = 1) -> Iterator[Trial]:
    """Run the program as recorded, then once for each fault, and yield the outcomes.

    Raises RecordingError if the program does not survive its own recording, or if there is no place for a fault.
    """
    faults = list(faults_in(load(program.cassette), kinds=kinds, times=times))
    if not faults:
        raise RecordingError(f"{program.cassette}: has no call with a place for {', '.join(kinds)}.")
    with instrumentation():
        try:
            program.run()
        except Exception as error:
            raise RecordingError(
                f"The program fails without any fault: {_named(error)}. Record it again, or change the check."
            ) from error
        for one in faults:
            yield _tried(program, one)


def _tried(program: Program, one: Fault) -> Trial:
    try:
        program.run(one)
    except (Divergence, RecordingError) as error:
        return Trial(one, "undecided", _named(error))
    except Exception as error:  # noqa: BLE001 - whatever the program raises
        return Trial(one, "failed", _named(error))
    return Trial(one, "survived")


def _named(error: Exception) -> str:
    text = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def trials_text(trials: Sequence[Trial]) -> str:
    """Return a line for each trial, and the sums."""
    width = max(len(str(one.fault)) for one in trials)
    lines = [f"{one.outcome:<9}  {one.fault!s:<{width}}  {one.reason}".rstrip() for one in trials]
    counts = {name: sum(one.outcome == name for one in trials) for name in get_args(Outcome)}
    sums = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    return "\n".join([*lines, "", f"{len(trials)} faults: {sums}"])
