"""Recorded runs and their forks: the program runs once with the whole recording, then several times from the cut on.

Each run is a case of an evaluation, so that the same scorers and judges apply to forks and the recorded run.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from opentelemetry.trace import get_current_span

from pandaprobe_otel.errors import RecordingError
from pandaprobe_otel.failures.find import find_failures
from pandaprobe_otel.mapping.attributes import FORKED_FROM
from pandaprobe_otel.replay.capture.requirements import check
from pandaprobe_otel.replay.capture.stored_trace import CannotCapture, StoredTrace, check_whole
from pandaprobe_otel.replay.capture.trace_cassette import cassette_of, scrubbed
from pandaprobe_otel.replay.divergence import Divergence, changed_lines, counted, numbers_text
from pandaprobe_otel.replay.fork.forked_run import Cut, ForkedRecording, RerunOptions, cut_from, whole
from pandaprobe_otel.replay.interactions import Cassette
from pandaprobe_otel.replay.recording import RecordedCall
from pandaprobe_otel.replay.scrubbing import Scrubber
from pandaprobe_otel.traces.comparison import first_difference
from pandaprobe_otel.traces.json_shapes import object_in
from pandaprobe_otel.traces.text import plain_text, span_line

if TYPE_CHECKING:
    from pandaprobe_otel.evals.report import CaseResult, Report
    from pandaprobe_otel.evals.report_comparison import CasePair, Comparison
    from pandaprobe_otel.evals.task_runs import TaskRun
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


def run_of(trace: StoredTrace, entry: Callable[..., Any], arguments: Any = None) -> RecordedRun:
    """Return a stored trace as a recorded run of a function.

    Without arguments, those of the trace are used: by name if they are the function's parameters, otherwise as its only
    argument. Raises RecordingError, which names the missing part.
    """
    try:
        check(trace)
        cassette = scrubbed(cassette_of(trace), Scrubber())
        if arguments is None:
            check_whole(trace.root.input, "the program's input")
    except CannotCapture as error:
        raise RecordingError(f"the trace {trace.trace_id} cannot be run again: {error}.") from error
    given = trace.root.input if arguments is None else arguments
    if arguments is None and given is not None and not _takes(entry, object_in(given)):
        given = [given]
    name = getattr(entry, "__name__", "trace")
    return RecordedRun(path=Path(f"{name}_{trace.trace_id[:8]}.yaml"), cassette=cassette, entry=entry, arguments=given)


def _takes(entry: Callable[..., Any], given: Mapping[str, Any] | None) -> bool:
    try:
        return given is not None and bool(inspect.signature(entry).bind(**given))
    except (TypeError, ValueError):
        return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Reruns:
    """Recorded runs and their forks, in pairs.

    Attributes:
        before: The recorded runs: one run, once for each fork, or several.
        after: The forks of one run, or one case for each of several runs. With `repeat`, such a case has the mean
            scores of its forks, and passes if each of them does.
        calls: The requests of each fork.
        kept_in: The cassettes of the forks that ran to the end.
        cut: The cut of a single recorded run.
        refused: Reasons why recorded runs could not be run again, by id.
    """

    options: RerunOptions
    before: Report
    after: Report
    calls: Sequence[Sequence[RecordedCall]]
    kept_in: Sequence[Path]
    cut: Cut | None = None
    refused: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def comparison(self) -> Comparison:
        """Paired comparison of both, metric by metric."""
        return self.after.compare(self.before)

    @property
    def sent(self) -> Sequence[int]:
        """The number of requests that each fork has sent."""
        return [sum(not one.played for one in requests) for requests in self.calls]


def rerun_each(
    recorded: Mapping[str, Callable[[], RecordedRun]], options: RerunOptions, *, metrics: Iterable[Any], **judging: Any
) -> Reruns:
    """Run each recorded program as `rerun` does, and pair the results. The runs have ids, and are loaded in turn.

    Every run is also scored by `no_failure`, so that there is a comparison without any metric. Raises RecordingError if
    no run can be repeated.
    """
    forks: dict[str, Reruns] = {}
    refused: dict[str, str] = {}
    for name, load in recorded.items():
        try:
            forks[name] = rerun(load(), options, metrics=[no_failure, *metrics], **judging)
        except RecordingError as error:
            refused[name] = str(error)
    if not forks:
        raise RecordingError(next(iter(refused.values()), "There is no trace to run again."))
    before, after = (
        replace(next(iter(forks.values())).after, cases=tuple(cases))
        for cases in (
            [replace(each.before.cases[0], id=name) for name, each in forks.items()],
            [_together(name, each.after.cases) for name, each in forks.items()],
        )
    )
    return Reruns(
        options=options,
        before=before,
        after=after,
        calls=[requests for each in forks.values() for requests in each.calls],
        kept_in=[path for each in forks.values() for path in each.kept_in],
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


def rerun(recorded: RecordedRun, options: RerunOptions, **judging: Any) -> Reruns:
    """Run the program as recorded, then from the cut on with live answers.

    Args:
        recorded: The recorded run.
        options: The changes.
        judging: Arguments of `evaluate`: `metrics` are functions, and names if there is a `judge`.

    Raises RecordingError if the recorded run cannot be repeated, since there would be nothing to compare.
    """
    from pandaprobe_otel.evals.experiment import evaluate

    cut = cut_from(recorded.cassette, options.span)
    entry, name = recorded.entry, getattr(recorded.entry, "__name__", None) or type(recorded.entry).__name__
    refused: list[Exception] = []
    calls: list[Sequence[RecordedCall]] = []
    kept_in: list[Path] = []

    def judged(cases: Sequence[Mapping[str, Any]], task: Callable[[Any], Any]) -> Report:
        return evaluate(cases, task, concurrency=1, name=str(name), **judging)

    def as_recorded(given: Any) -> Any:
        try:
            with ForkedRecording(recorded.path, whole(recorded.cassette), options):
                return called(entry, given)
        except (Divergence, RecordingError) as error:
            refused.append(error)
            raise

    def from_the_cut(given: Any) -> Any:
        recording = ForkedRecording(_free_path(recorded.path), cut, options)
        if origin is not None:
            get_current_span().set_attribute(FORKED_FROM, origin)
        result: Any = None
        try:
            with recording:
                result = called(entry, given)
        finally:
            calls.append(recording.calls)
        kept_in.append(recording.path)
        return result

    before = judged([{"id": "recorded", "input": recorded.arguments}], as_recorded)
    if refused:
        raise RecordingError(f"The program no longer behaves as in the recording. {refused[0]}")
    origin = recorded.cassette.made_from or next((trace.trace_id for trace in before.cases[0].records), None)
    cases = [{"id": f"fork {number}", "input": recorded.arguments} for number in range(1, options.repeat + 1)]
    after = judged(cases, from_the_cut)
    same = tuple(replace(before.cases[0], id=case.id) for case in after.cases)
    before = replace(before, cases=same)
    return Reruns(options=options, before=before, after=after, calls=calls, kept_in=kept_in, cut=cut)


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
    return asyncio.run(_awaited(result)) if inspect.isawaitable(result) or inspect.isasyncgen(result) else result


async def _awaited(value: Any) -> Any:
    if inspect.isasyncgen(value):
        return [item async for item in cast("AsyncIterator[Any]", value)]
    return await value


# -- the text ----------------------------------------------------------------------------------------------------------

_MARKS: Final = {"same": "=", "changed": "~", "left": "-", "right": "+"}
_ALONE: Final = {"left": ", recorded only", "right": ", in the fork only"}
_MAX_SPANS: Final = 200


def rerun_text(runs: Reruns) -> str:
    """Return how the forks differ from the recorded runs.

    Of a single run, the text shows the first difference and the spans of one fork, and the verdicts of all.
    """
    lines = [*_head(runs)]
    if runs.cut is None:
        lines += ["", *map(str, runs.comparison.by_weight), *runs.comparison.remarks, *_sums(runs), ""]
        lines += [f"{case.id}: {_verdict(case)}" for case in runs.after.cases if not case.passed]
        lines += [f"{name}: not run again: {why}" for name, why in runs.refused.items()]
    else:
        lines += [*_differences(runs), *_sums(runs), *_verdicts(runs)]
    return plain_text("\n".join([*lines, *(f"kept in {path}" for path in runs.kept_in)]))


def _head(runs: Reruns) -> Iterator[str]:
    options = runs.options
    changes = [f"model {options.model}"] if options.model else []
    changes += ["another prompt"] if options.prompt is not None else []
    start = f"from {options.span}" if options.span else "from its first call"
    yield f"fork of {runs.after.name} {start}{', ' if changes else ''}{' and '.join(changes)}"
    played = [len(requests) - sent for requests, sent in zip(runs.calls, runs.sent, strict=True)]
    if runs.cut is None:
        many = counted(len(runs.after.cases), "recorded run")
        yield f"  {many}, {counted(sum(played), 'call')} played, {sum(runs.sent)} sent"
        return
    if runs.cut.gone:
        yield f"  recorded from there on: {numbers_text(runs.cut.gone)}"
    for number, (kept, sent) in enumerate(zip(played, runs.sent, strict=True), 1):
        which = f"fork {number}: " if len(played) > 1 else ""
        yield f"  {which}{counted(kept, 'call')} played, {sent} sent"


def shown_pair(runs: Reruns) -> CasePair:
    """Return the first fork that differs, beside its recorded run."""
    from pandaprobe_otel.evals.report_comparison import paired

    pairs = paired(runs.before, runs.after)
    return next((pair for pair in pairs if pair.differing), pairs[0])


def _differences(runs: Reruns) -> Iterator[str]:
    pair = shown_pair(runs)
    first = first_difference(pair.traces)
    yield ""
    if first is None:
        yield "no difference"
    else:
        yield f"first difference: {first.span.kind} {first.span.name}{_ALONE.get(first.change, '')}"
        for name in first.fields:
            yield f"  {name}"
            if name != "order" and first.before is not None and first.after is not None:
                yield from changed_lines(first.before.body.get(name), first.after.body.get(name))
    rows = [row for spans in pair.traces for row in spans]
    yield ""
    yield f"spans (- recorded, + {pair.id}, ~ differs)"
    for row in rows[:_MAX_SPANS]:
        fields = f"  [{', '.join(row.fields)}]" if row.fields else ""
        yield f"  {_MARKS[row.change]} {'  ' * row.depth}{span_line(row.after or row.span)}{fields}"
    if len(rows) > _MAX_SPANS:
        yield f"  and {len(rows) - _MAX_SPANS} more"


def _sums(runs: Reruns) -> Iterator[str]:
    from pandaprobe_otel.evals.report_comparison import sums

    rows = [row for row in sums(runs.before, runs.after) if row[0] != "seconds"]  # played answers take no time
    if rows:
        yield ""
    of_runs = f" of {len(runs.after.cases)} runs" if len(runs.after.cases) > 1 else ""
    for name, old, new, change in rows:
        yield f"{name}{of_runs}: {old or '?'} → {new or '?'}{f' ({change})' if change else ''}"


def _verdicts(runs: Reruns) -> Iterator[str]:
    before, after = runs.before.cases[0], runs.after.cases
    yield ""
    yield f"recorded: {_verdict(before)}"
    if len(after) == 1:
        yield f"fork: {_verdict(after[0])}"
        return
    yield f"forks: {runs.after.rate}"
    yield from (f"  {case.id}: {_verdict(case)}" for case in after)
    if before.results:
        yield from (f"  {change}" for change in runs.comparison.by_weight)
        yield "  (the recorded run is a single sample: repeated runs might vary)"


def _verdict(case: CaseResult) -> str:
    if case.error is not None:
        return f"failed: {case.error}"
    return "; ".join(result.text for result in case.results) or "ran to the end"
