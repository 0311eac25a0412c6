"""Recorded runs and their forks: the program runs once with the whole recording, then several times from the cut on.

Each run is a case of an evaluation, so that the same scorers and judges apply to forks and the recorded run.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from opentelemetry.trace import SpanContext, get_current_span

from pandaprobe_otel.errors import RecordingError
from pandaprobe_otel.failures.find import find_failures
from pandaprobe_otel.mapping.attributes import FORKED_FROM
from pandaprobe_otel.replay.divergence import Divergence
from pandaprobe_otel.replay.fork.forked_run import Cut, ForkedRecording, RerunOptions, cut_from, whole
from pandaprobe_otel.replay.interactions import Cassette
from pandaprobe_otel.replay.recording import RecordedCall

if TYPE_CHECKING:
    from pandaprobe_otel.evals.local_judge import LocalJudge
    from pandaprobe_otel.evals.report import CaseResult, Report
    from pandaprobe_otel.evals.report_comparison import Comparison
    from pandaprobe_otel.evals.task_runs import Scorer, TaskRun
    from pandaprobe_otel.evals.verdicts import Judgement, MetricResult

MAX_FORKS: Final = 1000
"""Maximum number of saved forks of one cassette."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedRun:
    """A recorded run of a program.

    Attributes:
        path: The file of the cassette. Forks are saved beside it, as `NAME.fork-1.yaml`.
        cassette: The recording.
        entry: The function to call. Coroutine functions and generators are run to the end.
        arguments: Its arguments: by name, by position, or a single one.
    """

    path: Path
    cassette: Cassette
    entry: Callable[..., Any]
    arguments: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Forks:
    """The recorded run and its forks.

    Attributes:
        before: The recorded run, once for each fork.
        after: The forks.
        calls: The requests of each fork.
        kept_in: The cassettes of the forks that ran to the end.
    """

    options: RerunOptions
    cut: Cut
    before: Report
    after: Report
    calls: Sequence[Sequence[RecordedCall]]
    kept_in: Sequence[Path]

    @property
    def comparison(self) -> Comparison:
        """Comparison of both, metric by metric."""
        return self.after.compare(self.before)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reruns:
    """Several recorded runs and their forks, one case for each recorded run.

    Attributes:
        before: The recorded runs.
        after: The forks. With `repeat`, a case has the mean scores of its forks, and passes if each of them does.
        forks: The forks of each recorded run.
        refused: Reasons why recorded runs could not be run again, by id.
    """

    before: Report
    after: Report
    forks: Mapping[str, Forks]
    refused: Mapping[str, str]

    @property
    def comparison(self) -> Comparison:
        """Paired comparison of both, metric by metric."""
        return self.after.compare(self.before)


def rerun_each(
    recorded: Mapping[str, Callable[[], RecordedRun]],
    options: RerunOptions,
    *,
    metrics: Sequence[str | Scorer] = (),
    thresholds: Mapping[str, float] | None = None,
    judge: LocalJudge | None = None,
    say: Callable[[str], None] | None = None,
) -> Reruns:
    """Run each recorded program as `rerun` does, and pair the results. The runs have ids, and are loaded in turn.

    Every run is also scored by `no_failure`, so that there is a comparison without any metric. Raises RecordingError if
    no run can be repeated.
    """
    forks: dict[str, Forks] = {}
    refused: dict[str, str] = {}
    for name, load in recorded.items():
        try:
            forks[name] = rerun(
                load(), options, metrics=[no_failure, *metrics], thresholds=thresholds, judge=judge, say=say
            )
        except RecordingError as error:
            refused[name] = str(error)
    if not forks:
        raise RecordingError(next(iter(refused.values()), "There is no trace to run again."))
    first = next(iter(forks.values()))
    before = [replace(each.before.cases[0], id=name) for name, each in forks.items()]
    after = [_together(name, each.after.cases) for name, each in forks.items()]
    return Reruns(
        before=replace(first.before, cases=tuple(before)),
        after=replace(first.after, cases=tuple(after)),
        forks=forks,
        refused=refused,
    )


def no_failure(run: TaskRun) -> Judgement:
    """Score 1 for a run in whose trace the rules find no failure."""
    from pandaprobe_otel.evals.verdicts import Judgement

    found = [each.title for trace in run.traces for each in find_failures(trace.body) if not each.recovered]
    return Judgement.scored(not found, "; ".join(found))


def _together(name: str, cases: Sequence[CaseResult]) -> CaseResult:
    """Return the forks of one recorded run as one case."""
    from pandaprobe_otel.evals.verdicts import Repetition

    error = next((case.error for case in cases if case.error is not None), None)
    shown = next((case for case in cases if not case.passed), cases[0])
    results: list[MetricResult] = []
    for number, one in enumerate(() if error is not None else cases[0].results):
        runs = tuple(run for case in cases for run in case.results[number].runs)
        results.append(replace(one, runs=runs, repetition=Repetition(repeat=len(cases))))
    traces = tuple(trace for case in cases for trace in case.traces)
    return replace(shown, id=name, error=error, results=tuple(results), traces=traces)


def rerun(
    recorded: RecordedRun,
    options: RerunOptions,
    *,
    metrics: Iterable[str | Scorer] = (),
    thresholds: Mapping[str, float] | None = None,
    judge: LocalJudge | None = None,
    say: Callable[[str], None] | None = None,
) -> Forks:
    """Run the program as recorded, then from the cut on with live answers.

    Args:
        recorded: The recorded run.
        options: The changes.
        metrics: Functions, and names of metrics if there is a `judge`.
        thresholds: The lowest passing scores, by name.
        judge: A model that is called from here.
        say: Called with a line of text for each event.

    Raises RecordingError if the recorded run cannot be repeated, since there would be nothing to compare.
    """
    from pandaprobe_otel.evals.experiment import evaluate

    cut = cut_from(recorded.cassette, options.span)
    entry = recorded.entry
    judged = partial(
        evaluate,
        metrics=list(metrics),
        thresholds=thresholds,
        judge=judge,
        say=say,
        concurrency=1,
        name=str(getattr(entry, "__name__", None) or type(entry).__name__),
    )
    refused: list[Exception] = []
    calls: list[Sequence[RecordedCall]] = []
    kept_in: list[Path] = []

    def as_recorded(given: Any) -> Any:
        try:
            with ForkedRecording(recorded.path, whole(recorded.cassette), options):
                return called(entry, given)
        except (Divergence, RecordingError) as error:
            refused.append(error)
            raise

    def from_the_cut(given: Any) -> Any:
        path = _free_path(recorded.path)
        recording = ForkedRecording(path, cut, options)
        _mark_span(*origin)
        result: Any = None
        try:
            with recording:
                result = called(entry, given)
        finally:
            calls.append(recording.calls)
        kept_in.append(path)
        return result

    before = judged([{"id": "recorded", "input": recorded.arguments}], as_recorded)
    if refused:
        raise RecordingError(f"The program no longer behaves as in the recording. {refused[0]}")
    made_from = recorded.cassette.made_from
    origin = _root_of(before.cases[0]) if made_from is None else (made_from, None)
    cases = [{"id": f"fork {number}", "input": recorded.arguments} for number in range(1, options.repeat + 1)]
    after = judged(cases, from_the_cut)
    same = tuple(replace(before.cases[0], id=case.id) for case in after.cases)
    return Forks(
        options=options, cut=cut, before=replace(before, cases=same), after=after, calls=calls, kept_in=kept_in
    )


def _mark_span(trace_id: str | None, span_id: str | None) -> None:
    """Set an attribute in the fork's trace that names the recorded one."""
    if trace_id is None:
        return
    span = get_current_span()
    span.set_attribute(FORKED_FROM, trace_id)
    if span_id is not None:
        span.add_link(SpanContext(_number(trace_id), _number(span_id) & ((1 << 64) - 1), is_remote=True))


def _number(uuid: str) -> int:
    return int(uuid.replace("-", ""), 16)


def _root_of(case: CaseResult) -> tuple[str | None, str | None]:
    """Return the ids of the trace and of the root span of a run."""
    for trace in case.records:
        root = next((span for span in trace.spans if span.body.get("parent_span_id") is None), None)
        return trace.trace_id, None if root is None else str(root.body["span_id"])
    return None, None


def _free_path(path: Path) -> Path:
    """Return an unused file name for a fork."""
    for number in range(1, MAX_FORKS + 1):
        free = path.with_name(f"{path.stem}.fork-{number}{path.suffix or '.yaml'}")
        if not free.exists():
            return free
    raise RecordingError(f"{path}: has {MAX_FORKS} forks already. Remove forks that you do not need.")


def called(entry: Callable[..., Any], given: Any) -> Any:
    """Call the entry, and wait for its result."""
    if isinstance(given, Mapping):
        result = entry(**cast("Mapping[str, Any]", given))
    elif isinstance(given, list):
        result = entry(*cast("Iterable[Any]", given))
    else:
        result = entry() if given is None else entry(given)
    if inspect.isgenerator(result):
        return list(cast("Iterable[Any]", result))
    if inspect.isasyncgen(result):
        return asyncio.run(_listed(cast("AsyncIterator[Any]", result)))
    return asyncio.run(_awaited(result)) if inspect.isawaitable(result) else result


async def _listed(items: AsyncIterator[Any]) -> list[Any]:
    return [item async for item in items]


async def _awaited(value: Any) -> Any:
    return await value
