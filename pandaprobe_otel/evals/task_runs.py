"""Runs of a task, a test or a recorded program over cases, and the result of a case from its runs and judgements."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol, runtime_checkable

from pandaprobe_otel.evals.dataset import Case
from pandaprobe_otel.evals.judging import Judgements, Question
from pandaprobe_otel.evals.progress import Show, Tally, all_at_once
from pandaprobe_otel.evals.recorder import RECORDER, Recording, instrumentation
from pandaprobe_otel.evals.report import REPEAT, CaseResult
from pandaprobe_otel.evals.simulation import (
    Conversation,
    PersonaError,
    Simulation,
    awaited,
    failure_text,
    text_of_error,
)
from pandaprobe_otel.evals.span_set import SpanSet
from pandaprobe_otel.evals.verdicts import Judgement, MetricResult, Outcome
from pandaprobe_otel.traces.records import TraceRecord

if TYPE_CHECKING:
    from pandaprobe_otel.evals.judging import JudgementCache
    from pandaprobe_otel.evals.simulation import Persona
    from pandaprobe_otel.evals.verdicts import Demand

_NO_TRACE: Final = "00000000-0000-0000-0000-000000000000"
_UNJUDGED: Final = Judgement.error("it was not judged")


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRun:
    """One case after the task, as scorers see it."""

    case: Case
    output: Any
    error: str | None
    seconds: float
    trace_id: str
    traces: tuple[TraceRecord, ...]
    number: int = 1
    """Number of this run of the case, from 1."""
    targets: tuple[str, ...] = ()
    """Ids of the traces or sessions that a judge gets. None if the task failed."""
    judgements: Mapping[str, Judgement] = field(default_factory=dict[str, Judgement])
    """Judgements of the scorers by name. Empty while the scorers run."""
    conversation: Conversation | None = None
    """Conversation of a simulated user, whose messages are the `output`."""
    unfinished: str | None = None
    """Cause that ended a conversation early and is not the agent's fault."""

    @classmethod
    def of_traces(cls, name: str, traces: Sequence[TraceRecord], **fields: Any) -> TaskRun:
        """Return a run that is known by its traces, such as that of a test, with the output of the last one."""
        made: dict[str, Any] = {
            "case": Case(id=name, input=traces[0].input if traces else None),
            "output": traces[-1].output if traces else None,
            "error": None,
            "seconds": sum(trace.seconds for trace in traces),
            "trace_id": traces[-1].trace_id if traces else "",
            "traces": tuple(traces),
        }
        return cls(**made | fields)

    @property
    def spans(self) -> SpanSet:
        """The spans, for assertions as in tests."""
        return SpanSet.of(self.traces)


# -- judgements and the result of a case ------------------------------------------------------------------------------


def targets_of(traces: Iterable[TraceRecord], *, session: bool) -> tuple[str, ...]:
    """Return the ids of the traces, or of their sessions."""
    ids = (trace.session_id if session else trace.trace_id for trace in traces)
    return tuple(dict.fromkeys(filter(None, ids)))


def questions_of(run: TaskRun, demand: Demand) -> list[Question]:
    """Return the questions to the judge about a run, one for each target."""
    return [
        Question(
            target=target,
            metrics=demand.metrics,
            traces=tuple(t for t in run.traces if (t.session_id if demand.session else t.trace_id) == target),
            session=demand.session,
            model=demand.model,
            cut=run.unfinished,
        )
        for target in run.targets
    ]


def case_result(runs: Sequence[TaskRun], found: Judgements, demand: Demand, *, is_test: bool = False) -> CaseResult:
    """Return the result of a case, with the output of the first failed run, or of the last run if none failed.

    is_test: the runs have checks of their own, so that they are evidence without any metric.
    """
    repetition = demand.repetition
    errors = [run.error for run in runs if run.error is not None]
    error = None
    if repetition.settled(passed=0, failed=len(errors)) == "out of reach":
        error = errors[0] if repetition.repeat == 1 else f"{len(errors)} of {len(runs)} runs: {errors[0]}"
    results = [_result(metric, limit, runs, found, demand) for metric, limit in demand.thresholds.items()]
    by_run = zip(runs, *(result.outcomes for result in results), strict=True)
    shown = next((run for run, *each in by_run if run.error or {*each} - {Outcome.PASSED}), runs[-1])
    if error:
        results = []
    if is_test and repetition.repeat > 1:
        judged = tuple((Judgement.scored(run.error is None, run.error or ""),) for run in runs)
        limit = repetition.min_pass or 1.0
        results.insert(0, MetricResult(metric=REPEAT, threshold=limit, runs=judged, repetition=repetition))
    return CaseResult(
        id=shown.case.id,
        input=shown.case.input,
        output=shown.output,
        expected=shown.case.expected,
        error=error,
        seconds=sum(run.seconds for run in runs) / len(runs),
        results=tuple(results),
        traces=tuple(trace.body for run in runs for trace in run.traces),
        checked=is_test,
    )


def _result(metric: str, threshold: float, runs: Sequence[TaskRun], found: Judgements, demand: Demand) -> MetricResult:
    """Return the judgements of a metric about each run; None for a run whose task failed."""

    def known(run: TaskRun) -> tuple[Judgement, ...] | None:
        if run.error is not None:
            return None
        if metric in run.judgements:
            return (run.judgements[metric],)
        if not run.targets:
            what = "no trace has a session" if run.traces else "there is nothing to judge: no trace was made"
            return (Judgement.error(what),)
        return tuple(found.get((target, metric), _UNJUDGED) for target in run.targets)

    return MetricResult(
        metric=metric,
        threshold=threshold,
        runs=tuple(map(known, runs)),
        repetition=demand.repetition,
        allow_vacuous=demand.allow_vacuous,
    )


def is_settled(runs: Sequence[TaskRun], demand: Demand) -> bool:
    """Return whether further runs cannot change the result: a metric cannot pass any more, or all have passed.

    A run that no judge has judged yet may still fail, so it never counts as passed.
    """
    errors = sum(run.error is not None for run in runs)
    settled = demand.repetition.settled
    states = [settled(passed=0 if demand.metrics else len(runs) - errors, failed=errors)]
    for metric, threshold in demand.scorers.items():
        found = [run.judgements.get(metric) for run in runs]
        passed = sum(one is not None and one.passes(threshold) for one in found)
        states.append(settled(passed=passed, failed=len(runs) - passed))
    return "out of reach" in states or all(state == "reached" for state in states)


def count_runs(tally: Tally, runs: Sequence[TaskRun], demand: Demand) -> None:
    """Count a case in the progress, with the cost of its traces. It has failed if no missing judgement can save it."""
    found = case_result(runs, {}, replace(demand, metrics={}))
    tally.add(failed=found.outcome is Outcome.FAILED, cost=found.cost)


# -- scorers ----------------------------------------------------------------------------------------------------------

Said = float | bool | Judgement | None
"""Values that a scorer may return."""
Scorer = Callable[[TaskRun], Said | Awaitable[Said]]
"""A metric of your own: a function or coroutine function of one `TaskRun`, or an object with such a `__call__`.

It returns a number from 0 to 1, True or False, or a `Judgement` with a reason. A failed assertion counts as 0, with its
text as the reason. Returning None counts as 1. Any other exception gives no evidence. The metric has the name of the
function, or the object's attribute `name`.
"""


@runtime_checkable
class Asking(Protocol):
    """A scorer that calls a model, and whose answers can be cached."""

    def asks(self, run: TaskRun) -> tuple[str, str] | None:
        """Return the name of the judge and everything that the opinion depends on; None if it cannot be cached."""
        ...


def scorer_name(scorer: Callable[..., object]) -> str:
    """Return the metric name of a scorer, which is a function or a callable object."""
    return str(getattr(scorer, "__name__", None) or getattr(scorer, "name", None) or type(scorer).__name__)


def check_scorer(name: str, scorer: Callable[..., object]) -> None:
    """Raise ValueError for a scorer that cannot be called with one argument."""
    try:
        signature = inspect.signature(scorer)
    except (ValueError, TypeError):  # Some functions written in C have no signature.
        return
    try:
        signature.bind(None)
    except TypeError:
        needed = [
            parameter.name
            for parameter in list(signature.parameters.values())[1:]
            if parameter.default is parameter.empty and parameter.kind is parameter.POSITIONAL_OR_KEYWORD
        ]
        what = f"needs {needed[0]!r} as well" if needed else "takes no argument"
        raise ValueError(f"{name} {what}: a scorer is called with one TaskRun, def {name}(run)") from None


def sorted_metrics(
    metrics: str | Mapping[str, float] | Iterable[str | Scorer],
) -> tuple[list[str], dict[str, Scorer]]:
    """Return the names of metrics, and the functions by name. Raises ValueError for a function that is not a scorer."""
    names: list[str] = []
    scorers: dict[str, Scorer] = {}
    for metric in (metrics,) if isinstance(metrics, str) else metrics:
        if isinstance(metric, str):
            names.append(metric)
        else:
            name = scorer_name(metric)
            check_scorer(name, metric)
            if name in scorers:
                raise ValueError(f"two scorers have the name {name}")
            scorers[name] = metric
    return names, scorers


def scored(scorer: Scorer, run: TaskRun, cache: JudgementCache | None = None, name: str = "") -> Judgement:
    """Return the judgement of a scorer about a run. Never raises.

    With a cache, the judgement is cached if the scorer names its judge and its question.
    """
    asker: object = scorer
    asked = asker.asks(run) if cache and cache.path and isinstance(asker, Asking) else None
    if cache is not None and asked is not None:
        if (known := cache.get(*asked, name)) is not None:
            return known
        cache.put(*asked, name, found := scored(scorer, run))
        return found
    try:
        returned = _waited(scorer(run))
        if isinstance(returned, Judgement):
            return _checked(returned, returned.value)
        number = 1.0 if returned is None else float(returned)
    except AssertionError as error:
        return Judgement.scored(0.0, text_of_error(error).strip() or "an assertion failed")
    except Exception as error:  # noqa: BLE001 - a scorer that fails is no verdict about the case, and is shown as such
        return Judgement.error(failure_text(error))
    return _checked(Judgement.scored(number), returned)


def _checked(found: Judgement, returned: Any) -> Judgement:
    """Return a judgement, checking its score."""
    if found.value is None or 0.0 <= found.value <= 1.0:
        return found
    return Judgement.error(f"it returned {returned!r}, which is not between 0 and 1")


# -- runs of a task ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """Steps for each case: the task, then the scorers, until the demanded runs are made or the result is settled."""

    task: Callable[[Any], Any]
    personas: Mapping[str, Persona]
    """For a task that is a simulation: the simulated user of each case."""
    title: str
    scorers: Mapping[str, Scorer]
    cache: JudgementCache
    """Earlier answers to scorers that call a model."""
    demand: Demand


def run_cases(
    cases: Sequence[Case], trial: Trial, *, concurrency: int, done: dict[str, list[TaskRun]], show: Show
) -> None:
    """Run each case. Cases run concurrently in threads; the runs of one case follow each other.

    done: receives the runs by the id of the case, as soon as there are any.
    """
    RECORDER.attach(create=True)
    with instrumentation():
        all_at_once(
            [partial(_run_case, case, trial, done) for case in cases],
            "cases done",
            threads=concurrency,
            show=show,
            count=lambda tally, runs: count_runs(tally, runs, trial.demand),
        )


def _run_case(case: Case, trial: Trial, done: dict[str, list[TaskRun]]) -> list[TaskRun]:
    runs: list[TaskRun] = []
    for number in range(1, trial.demand.repetition.repeat + 1):
        run = _run_once(case, trial, number)
        runs.append(replace(run, judgements=_judgements(run, trial)))
        if is_settled(runs, trial.demand):
            break
    done[case.id] = runs
    return runs


def _judgements(run: TaskRun, trial: Trial) -> dict[str, Judgement]:
    if run.error is not None:
        return {}
    if run.conversation is not None and run.unfinished is not None:
        return dict.fromkeys(trial.scorers, Judgement.error(run.conversation.reason))
    return {name: scored(scorer, run, trial.cache, name) for name, scorer in trial.scorers.items()}


def _run_once(case: Case, trial: Trial, number: int) -> TaskRun:
    from opentelemetry.context import Context, attach, detach

    from pandaprobe_otel.capture.factories import start_trace

    recording, task = Recording(), trial.task
    token = attach(recording.applied_to(Context()))
    begun = time.perf_counter()
    output = failed = cut = conversation = None
    trace_id = _NO_TRACE
    try:
        if isinstance(task, Simulation):
            conversation = task.begin(f"{case.id} {number}")
            task(trial.personas[case.id], conversation)
        else:
            metadata = {"case": case.id} | ({"run": number} if trial.demand.repetition.repeat > 1 else {})
            with start_trace(trial.title, input=case.input, metadata=metadata) as handle:
                trace_id = handle.trace_id
                output = _waited(task(case.input))
                handle.set_output(output)
    except Exception as error:  # noqa: BLE001 - the task's own failure is the result of its case, and is shown there
        if conversation is not None and isinstance(error, PersonaError):
            cut = "interrupted"
        else:
            failed = failure_text(error)
    finally:
        detach(token)
    took, traces = time.perf_counter() - begun, recording.traces()
    recording.close()
    if conversation is not None:
        output, trace_id = conversation.to_list(), next(reversed(conversation.trace_ids), _NO_TRACE)
    targets = (trace_id if conversation is None else conversation.session,)
    return TaskRun(
        case=case,
        output=output,
        error=failed,
        seconds=took,
        trace_id=trace_id,
        traces=traces,
        number=number,
        targets=() if failed is not None or trace_id == _NO_TRACE else targets,
        conversation=conversation,
        unfinished=cut,
    )


def _waited(value: Any) -> Any:
    return asyncio.run(awaited(value)) if inspect.isawaitable(value) else value
