"""One run of one case in a separate process: recorded answers while the requests stay the same, live ones after that.

`python -m pandaprobe_otel.improve.one_run` reads a job as JSON from standard input, and writes the result as JSON to
the file that the job names. Standard output stays that of the program.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from pydantic import TypeAdapter

from pandaprobe_otel.failures.find import find_failures
from pandaprobe_otel.process.guard import counted
from pandaprobe_otel.replay.cassette import load
from pandaprobe_otel.replay.exchange import Exchange
from pandaprobe_otel.replay.fork.forked_run import ForkedRun, ForkOptions
from pandaprobe_otel.replay.fork.recording_cut import Cut
from pandaprobe_otel.replay.fork.rerun import called
from pandaprobe_otel.replay.interactions import Cassette, RecordedRequest, ToolCall
from pandaprobe_otel.replay.recording import Recording
from pandaprobe_otel.replay.replayed_run import RecordingOptions

_MOST_TEXT: Final = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A run to make."""

    folder: str
    """Project, or a changed copy of it."""
    entry: str
    arguments: Any
    cassette: str
    traces: str
    result: str
    kept: tuple[int, ...] | None
    """Numbers of the recorded calls that are played back. None: all."""
    mended: tuple[str, ...]
    """Fingerprints of failures that must not occur. Empty: no failure at all may occur."""
    checks: tuple[str, ...]
    live_tools: tuple[str, ...]
    most_live: int
    """Maximum number of model calls that may be sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """Result of a run, with its evidence."""

    passed: bool
    reasons: tuple[str, ...]
    """Reasons why it did not pass."""
    played: tuple[int, ...]
    """Numbers of the recorded calls that were played back before the first sent one."""
    live: int
    tokens: int
    seconds: float
    answer: str
    trace: Mapping[str, Any] | None
    over_budget: bool
    """True if the program would have sent more calls than allowed, so that the run proves nothing."""


class OverBudget(Exception):
    """Refusal of a call, because the run may send no more."""


class _CountedRun(ForkedRun):
    """A fork that counts the calls it sends, and notes the recorded calls before them."""

    def __init__(self, options: RecordingOptions, fork: ForkOptions, *, most_live: int) -> None:
        super().__init__(options, fork)
        self._most_live = most_live
        self.live = 0
        self.played: list[int] = []

    def begin(self, sent: RecordedRequest) -> Exchange:
        """Return the exchange of a request. Raises OverBudget for a call above the limit."""
        exchange = super().begin(sent)
        if exchange.played is not None:
            if not self.live:
                self.played.append(exchange.played.call)
        else:
            self.live += 1
            if self.live > self._most_live:
                error = OverBudget(f"more than {self._most_live} calls to models")
                exchange.failed(error)
                raise error
        return exchange

    def tool_answer(self, name: str, arguments: Mapping[str, Any], call_id: str | None = None) -> ToolCall | None:
        """Return the recorded tool call; None if the tool may run.

        A tool that may run always runs, since a recorded result would hide the effect of a fix.
        """
        return None if name in self._fork.live_tools else super().tool_answer(name, arguments, call_id)

    def check(self) -> None:
        """Accept recorded calls that the changed program no longer makes, since that may be the fix."""
        if self.failure is not None:
            raise self.failure

    def write(self) -> None:
        """Write no cassette, because the trace is the evidence."""


class _CountedRecording(Recording):
    def __init__(self, path: Path, fork: ForkOptions, *, most_live: int) -> None:
        options = RecordingOptions(path=path, mode="new", tools=True)
        super().__init__(options)
        self.counted = _CountedRun(options, fork, most_live=most_live)
        self._run = self.counted


def cut_of(cassette: Cassette, kept: Collection[int] | None) -> Cut:
    """Return the cut that plays back these calls, and sends all other requests."""
    numbers = [one.call for one in cassette.interactions]
    played = [one for one in cassette.interactions if kept is None or one.call in kept]
    gone = tuple(number for number in numbers if kept is not None and number not in kept)
    inner = replace(cassette, interactions=tuple(played))
    return Cut(kept=inner, before=frozenset(), gone=gone or (max(numbers, default=0) + 1,))


def make(job: Job) -> RunResult:
    """Run the job in this process, with the project's working directory and modules."""
    import pandaprobe_otel

    os.chdir(job.folder)
    sys.path.insert(0, job.folder)
    handle = pandaprobe_otel.init(local=job.traces, strict=False)
    entry = _loaded(job.entry)
    fork = ForkOptions(cut=cut_of(load(Path(job.cassette)), job.kept), live_tools=job.live_tools)
    recording = _CountedRecording(Path(job.result).with_suffix(".yaml"), fork, most_live=job.most_live)
    begun, answer, reasons = time.monotonic(), None, list[str]()
    try:
        with recording:
            answer = called(entry, job.arguments)
    except Exception as error:  # noqa: BLE001 - the program's own failure is the result
        counted("a run of the program", error)
        reasons.append(f"{type(error).__name__}: {error}"[:_MOST_TEXT])
    seconds = time.monotonic() - begun
    handle.shutdown(60)
    trace = _trace(Path(job.traces))
    reasons.extend(_failures(trace, job.mended))
    reasons.extend(_checked(job.checks, answer, trace))
    return RunResult(
        passed=not reasons,
        reasons=tuple(reasons),
        played=tuple(recording.counted.played),
        live=recording.counted.live,
        tokens=_tokens(trace),
        seconds=round(seconds, 3),
        answer=repr(answer)[:_MOST_TEXT],
        trace=trace,
        over_budget=recording.counted.live > job.most_live,  # The program may have caught the refusal.
    )


def _failures(trace: Mapping[str, Any] | None, mended: Collection[str]) -> list[str]:
    if trace is None:
        return ["the run has no trace, so its steps are unknown"]
    found = [each for each in find_failures(trace) if not each.recovered]
    return [each.title for each in found if not mended or each.fingerprint in mended]


def _checked(names: Collection[str], answer: Any, trace: Mapping[str, Any] | None) -> list[str]:
    """Return the names of the checks that fail. A check is a function of the answer and the trace that returns True for
    a good run.
    """
    reasons: list[str] = []
    for name in names:
        try:
            verdict = _loaded(name)(answer, trace)
        except Exception as error:  # noqa: BLE001 - a check that fails is no evidence that the run is good
            counted("a check of a run", error)
            reasons.append(f"{name}: {type(error).__name__}: {error}"[:_MOST_TEXT])
            continue
        if verdict is not True:
            reasons.append(f"{name}: {verdict!r}"[:_MOST_TEXT])
    return reasons


def _loaded(name: str) -> Callable[..., Any]:
    from pandaprobe_otel.cli.user_functions import load_function

    return load_function(name)


def _trace(path: Path) -> dict[str, Any] | None:
    from pandaprobe_otel.replay.capture.ordered_trace import traces_in

    try:
        traces = traces_in(path)
    except (OSError, ValueError):
        return None
    bodies: list[dict[str, Any]] = [dict(trace.body) for trace in traces]
    return max(bodies, key=lambda body: len(body.get("spans", ())))


def _tokens(trace: Mapping[str, Any] | None) -> int:
    spans: list[dict[str, Any]] = [] if trace is None else list(trace["spans"])
    usages: list[dict[str, int]] = [span.get("token_usage") or {} for span in spans]
    return sum(usage.get("prompt_tokens", 0) + usage.get("completion_tokens", 0) for usage in usages)


def main() -> None:
    """Run the job that standard input describes."""
    job = TypeAdapter(Job).validate_json(sys.stdin.read())
    result = asdict(make(job))
    Path(job.result).write_text(json.dumps(result, indent=1, ensure_ascii=False, default=str), encoding="utf-8")


if __name__ == "__main__":
    main()
