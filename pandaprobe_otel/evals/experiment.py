"""`evaluate()`: a task over a dataset, traced, judged in one batch, reported. Needs no pytest."""

from __future__ import annotations

import asyncio
import inspect
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from pandaprobe_otel.errors import ConfigError
from pandaprobe_otel.evals.cache import JudgementCache
from pandaprobe_otel.evals.confirmation import Doubt, confirm
from pandaprobe_otel.evals.dataset import Case, Dataset, load_cases
from pandaprobe_otel.evals.demand import DEFAULT_THRESHOLD
from pandaprobe_otel.evals.instrumentation import instrumentation
from pandaprobe_otel.evals.judging import Bench, Finding, Judgement, Judgements, Question
from pandaprobe_otel.evals.recorder import Recording, SpanRecorder
from pandaprobe_otel.evals.report import CaseResult, MetricResult, Report
from pandaprobe_otel.evals.span_set import SpanSet
from pandaprobe_otel.evals.traces import TraceRecord

if TYPE_CHECKING:
    from pandaprobe_otel.api import Client

_DELIVER_WITHIN_S: Final = 60.0
_NO_TRACE: Final = "00000000-0000-0000-0000-000000000000"


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRun:
    """One case after the task: what a scorer looks at."""

    case: Case
    output: Any
    error: str | None
    seconds: float
    trace_id: str
    traces: tuple[TraceRecord, ...]

    @property
    def spans(self) -> SpanSet:
        """The spans, for assertions as in tests."""
        return SpanSet.of(self.traces)


Scorer = Callable[[TaskRun], "float | bool | None"]
"""A metric of your own: returns a number from 0 to 1 or True or False. A failed assertion in it is a 0 with its text;
returning nothing is a 1."""


def evaluate(
    dataset: Dataset,
    task: Callable[[Any], Any],
    metrics: str | Mapping[str, float] | Iterable[str | Scorer] = (),
    thresholds: float | Mapping[str, float] | None = None,
    concurrency: int = 4,
    *,
    name: str | None = None,
    client: Client | None = None,
    model: str | None = None,
    confirm: int = 1,
    allow_vacuous: bool = False,
    max_evaluations: int | None = None,
    cache: str | PathLike[str] | None = None,
    timeout: float = 600.0,
    say: Callable[[str], None] | None = None,
) -> Report:
    """Run a task over cases, trace each, judge all in one batch, and return the report.

    dataset: cases; see `load_cases`. task: takes the input of a case; may be a coroutine function.
    metrics: names of PandaProbe's metrics of traces, and functions (see `Scorer`), which cost nothing.
    thresholds: of all, or by name (default 0.5); a score below it fails the case.
    concurrency: how many cases run at once, in threads.
    client: for the judge; default: one of the project that the traces go to.
    model, confirm, allow_vacuous: as of the pytest marker. max_evaluations: judge nothing if more would be billed.
    cache: a file of judgements about unchanged behaviour. timeout: of a run of evaluations, in seconds.
    say: gets a line for what is going on, the bill first; default: standard error.

    With names of metrics, `init()` is called unless it was; without, nothing is sent by this function, and the
    libraries that it instruments are as before when it returns. A task that fails is an error of its case, and the
    others go on.

    Raises:
        ValueError: the dataset or the thresholds cannot be used.
        ConfigError: there are metrics to judge, and no key to do it with.
    """
    cases = load_cases(dataset)
    names, scorers = _sorted_metrics(metrics)
    limits = _thresholds([*names, *scorers], metrics, thresholds)
    say = say or _to_stderr
    title = name or str(getattr(task, "__name__", "evaluation"))
    if names:
        _open()
    runs = _run(cases, task, title, concurrency)
    found: Judgements = {}
    notes: list[str] = []
    if names:
        found, notes = _judged(
            runs,
            names,
            limits,
            client,
            model=model,
            answers=confirm,
            bench={"max_evaluations": max_evaluations, "timeout_s": timeout, "say": say},
            cache=cache,
        )
    results = tuple(_result(run, names, scorers, limits, found, allow_vacuous) for run in runs)
    return Report(
        name=title, created_at=datetime.now(UTC).isoformat(timespec="seconds"), cases=results, notes=tuple(notes)
    )


_recorder: Final = SpanRecorder()
"""One for all evaluations of the process: a provider keeps its processors for ever."""


# -- running ----------------------------------------------------------------------------------------------------------


def _open() -> None:
    from pandaprobe_otel import bootstrap

    handle = bootstrap.current() or bootstrap.init()
    if not handle.enabled:
        problems = " ".join(problem.message for problem in handle.config.problems)
        raise ConfigError(f"the judge cannot be asked: {problems or 'init(enabled=False) was called.'}")


def _run(cases: Sequence[Case], task: Callable[[Any], Any], title: str, concurrency: int) -> list[TaskRun]:
    _recorder.attach(create=True)
    threads = ThreadPoolExecutor(max_workers=max(concurrency, 1), thread_name_prefix="pandaprobe-case")
    with instrumentation(), threads as pool:
        futures = [pool.submit(_run_case, case, task, title) for case in cases]
        try:
            return [future.result() for future in futures]
        except BaseException:  # Ctrl-C: what has not begun does not begin
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _run_case(case: Case, task: Callable[[Any], Any], title: str) -> TaskRun:
    from opentelemetry.context import Context, attach, detach

    from pandaprobe_otel.decorators import start_trace

    recording, output, failed = Recording(), None, None
    token = attach(recording.applied_to(Context()))
    begun = time.perf_counter()
    handle = start_trace(title, input=case.input, metadata={"case": case.id})
    try:
        with handle:
            returned = task(case.input)
            output = asyncio.run(_awaited(returned)) if inspect.isawaitable(returned) else returned
            handle.set_output(output)
    except Exception as error:  # noqa: BLE001 - the task's own failure is the result of its case, and is shown there
        failed = f"{type(error).__name__}: {error}"
    finally:
        detach(token)
    took, traces = time.perf_counter() - begun, recording.traces()
    recording.close()
    return TaskRun(case=case, output=output, error=failed, seconds=took, trace_id=handle.trace_id, traces=traces)


async def _awaited(value: Any) -> Any:
    return await value


# -- judging ----------------------------------------------------------------------------------------------------------


def _judged(
    runs: Sequence[TaskRun],
    names: Sequence[str],
    limits: Mapping[str, float],
    client: Client | None,
    *,
    model: str | None,
    answers: int,
    bench: Mapping[str, Any],
    cache: str | PathLike[str] | None,
) -> tuple[Judgements, list[str]]:
    from pandaprobe_otel import bootstrap
    from pandaprobe_otel.api import Client

    handle = bootstrap.current()
    assert handle is not None
    notes: list[str] = []
    if not handle.flush(_DELIVER_WITHIN_S):
        notes.append(f"traces were not delivered within {_DELIVER_WITHIN_S:g} s: {handle.status().last_error}")
    config = handle.config
    own = client or Client(config.api_key, config.project_name, config.endpoint)
    try:
        known = None if cache is None else JudgementCache(Path(cache).expanduser(), judge=own.credentials.endpoint)
        judge = Bench(own, cache=known, **bench)
        questions = [_question(run, names, model) for run in runs if run.error is None and run.trace_id != _NO_TRACE]
        found = judge.judge(questions)
        doubts = [
            Doubt(question=q, metric=m, threshold=limits[m], answers=answers, first=found[q.target, m])
            for q in questions
            for m in names
            if answers > 1 and found[q.target, m].finding is Finding.SCORED and not found[q.target, m].passes(limits[m])
        ]
        return found | confirm(judge, doubts), notes
    finally:
        if client is None:
            own.close()


def _question(run: TaskRun, names: Sequence[str], model: str | None) -> Question:
    trace = next((trace for trace in run.traces if trace.trace_id == run.trace_id), None)
    return Question(
        target=run.trace_id,
        metrics=tuple(names),
        model=model,
        content=None if trace is None else trace.content_hash,
        started=None if trace is None else datetime.fromisoformat(str(trace.body["started_at"])),
    )


def _result(
    run: TaskRun,
    names: Sequence[str],
    scorers: Mapping[str, Scorer],
    limits: Mapping[str, float],
    found: Judgements,
    allow_vacuous: bool,
) -> CaseResult:
    results: list[MetricResult] = []
    if run.error is None:
        absent = Judgement(finding=Finding.ERROR, reason="no trace was made")
        judged = {metric: found.get((run.trace_id, metric), absent) for metric in names}
        judged |= {metric: _scored(scorer, run) for metric, scorer in scorers.items()}
        results = [
            MetricResult.of(metric, judgement, limits[metric], allow_vacuous=allow_vacuous)
            for metric, judgement in judged.items()
        ]
    return CaseResult(
        id=run.case.id,
        input=run.case.input,
        output=run.output,
        expected=run.case.expected,
        error=run.error,
        seconds=run.seconds,
        results=tuple(results),
        traces=tuple(trace.body for trace in run.traces),
    )


def _scored(scorer: Scorer, run: TaskRun) -> Judgement:
    try:
        value = scorer(run)
        number = 1.0 if value is None else float(value)
    except AssertionError as error:
        return Judgement(finding=Finding.SCORED, value=0.0, reason=str(error).strip() or "an assertion failed")
    except Exception as error:  # noqa: BLE001 - a scorer that fails is no verdict about the case, and is shown as such
        return Judgement(finding=Finding.ERROR, reason=f"{type(error).__name__}: {error}")
    if not 0.0 <= number <= 1.0:
        return Judgement(finding=Finding.ERROR, reason=f"it returned {value!r}, which is not between 0 and 1")
    return Judgement(finding=Finding.SCORED, value=number)


# -- arguments --------------------------------------------------------------------------------------------------------


def _sorted_metrics(
    metrics: str | Mapping[str, float] | Iterable[str | Scorer],
) -> tuple[list[str], dict[str, Scorer]]:
    names: list[str] = []
    scorers: dict[str, Scorer] = {}
    for metric in (metrics,) if isinstance(metrics, str) else metrics:
        if isinstance(metric, str):
            names.append(metric)
        else:
            scorers[getattr(metric, "__name__", type(metric).__name__)] = metric
    return names, scorers


def _thresholds(
    names: Iterable[str], metrics: object, thresholds: float | Mapping[str, float] | None
) -> dict[str, float]:
    given: dict[str, float] = {}
    common = DEFAULT_THRESHOLD
    for source in (metrics, thresholds):
        if isinstance(source, Mapping):
            given.update(cast("Mapping[str, float]", source))
        elif isinstance(source, int | float):
            common = float(source)
    names = list(names)
    if unknown := [name for name in given if name not in names]:
        raise ValueError(f"there is a threshold for {', '.join(unknown)}, which is no metric of this evaluation")
    if wrong := [value for value in (common, *given.values()) if not 0.0 <= value <= 1.0]:
        raise ValueError(f"the threshold {wrong[0]} is not between 0 and 1")
    return {name: given.get(name, common) for name in names}


def _to_stderr(line: str) -> None:
    sys.stderr.write(f"pandaprobe: {line}\n")
