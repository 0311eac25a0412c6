"""Runs of a task over cases. Each run has its own trace, and the judgements of the caller's scorers."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol, cast, runtime_checkable

from pandaprobe_otel.evals.concurrency import Watch, all_at_once
from pandaprobe_otel.evals.conversation import Conversation
from pandaprobe_otel.evals.dataset import Case
from pandaprobe_otel.evals.failure_text import failure_text, text_of_error
from pandaprobe_otel.evals.instrumentation import instrumentation
from pandaprobe_otel.evals.judging import Judgement
from pandaprobe_otel.evals.personas import Persona
from pandaprobe_otel.evals.recorder import RECORDER, Recording
from pandaprobe_otel.evals.simulation import PersonaError, Simulation
from pandaprobe_otel.evals.span_set import SpanSet
from pandaprobe_otel.traces.records import TraceRecord

if TYPE_CHECKING:
    from pandaprobe_otel.evals.cache import JudgementCache

_NO_TRACE: Final = "00000000-0000-0000-0000-000000000000"


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
    judgements: Mapping[str, Judgement] = field(default_factory=dict[str, Judgement])
    """Judgements of the scorers by name. Empty while the scorers run."""
    conversation: Conversation | None = None
    """Conversation of a simulated user, whose messages are the `output`."""
    unfinished: str | None = None
    """Cause that ended a conversation early and is not the agent's fault."""

    @property
    def is_traced(self) -> bool:
        """Return whether there is something to judge: the task ended without an error, and its trace is sent."""
        return self.error is None and self.trace_id != _NO_TRACE

    @property
    def target(self) -> str:
        """Id of the judged target: the trace, or the session of a conversation."""
        return self.trace_id if self.conversation is None else self.conversation.session

    @property
    def judged(self) -> tuple[TraceRecord, ...]:
        """The traces of the judged target: one trace, or those of its session."""
        of_session = self.conversation is not None
        return tuple(t for t in self.traces if (t.session_id if of_session else t.trace_id) == self.target)

    @property
    def spans(self) -> SpanSet:
        """The spans, for assertions as in tests."""
        return SpanSet.of(self.traces)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """Steps for each case: the task, then the scorers, `repeat` times or until `settled` returns True."""

    task: Callable[[Any], Any]
    personas: Mapping[str, Persona]
    """For a task that is a simulation: the simulated user of each case."""
    title: str
    scorers: Mapping[str, Scorer]
    cache: JudgementCache | None
    """Earlier answers to scorers that call a model."""
    repeat: int
    settled: Callable[[Sequence[TaskRun]], bool]


def run_cases(
    cases: Sequence[Case],
    trial: Trial,
    *,
    concurrency: int,
    done: dict[str, list[TaskRun]],
    watch: Watch[list[TaskRun]],
) -> list[list[TaskRun]]:
    """Return the runs of each case. Cases run concurrently in threads; the runs of one case follow each other.

    done: receives the runs by the id of the case, as soon as there are any.
    """
    RECORDER.attach(create=True)
    jobs = [partial(_run_case, case, trial, done) for case in cases]
    with instrumentation():
        return all_at_once(jobs, threads=concurrency, name="pandaprobe-case", watch=watch)


def _run_case(case: Case, trial: Trial, done: dict[str, list[TaskRun]]) -> list[TaskRun]:
    runs: list[TaskRun] = []
    for number in range(1, trial.repeat + 1):
        run = _run_once(case, trial, number)
        runs.append(replace(run, judgements=_judgements(run, trial)))
        if trial.settled(runs):
            break
    done[case.id] = runs
    return runs


def _judgements(run: TaskRun, trial: Trial) -> dict[str, Judgement]:
    if run.error is not None:
        return {}
    if run.conversation is not None and run.unfinished is not None:
        return dict.fromkeys(trial.scorers, Judgement.error(run.conversation.reason))
    return {name: _known_or_scored(name, scorer, run, trial.cache) for name, scorer in trial.scorers.items()}


def _run_once(case: Case, trial: Trial, number: int) -> TaskRun:
    if isinstance(trial.task, Simulation):
        return _talk_once(case, trial.task, trial.personas[case.id], number)
    from opentelemetry.context import Context, attach, detach

    from pandaprobe_otel.capture.factories import start_trace

    recording, output, failed = Recording(), None, None
    token = attach(recording.applied_to(Context()))
    begun = time.perf_counter()
    metadata = {"case": case.id} | ({"run": number} if trial.repeat > 1 else {})
    handle = start_trace(trial.title, input=case.input, metadata=metadata)
    try:
        with handle:
            returned = trial.task(case.input)
            output = asyncio.run(_awaited(returned)) if inspect.isawaitable(returned) else returned
            handle.set_output(output)
    except Exception as error:  # noqa: BLE001 - the task's own failure is the result of its case, and is shown there
        failed = failure_text(error)
    finally:
        detach(token)
    took, traces = time.perf_counter() - begun, recording.traces()
    recording.close()
    return TaskRun(
        case=case,
        output=output,
        error=failed,
        seconds=took,
        trace_id=handle.trace_id,
        traces=traces,
        number=number,
    )


def _talk_once(case: Case, simulation: Simulation, persona: Persona, number: int) -> TaskRun:
    from opentelemetry.context import Context, attach, detach

    recording, conversation = Recording(), simulation.begin(f"{case.id} {number}")
    failed = cut = None
    token = attach(recording.applied_to(Context()))
    begun = time.perf_counter()
    try:
        simulation(persona, conversation)
    except PersonaError:
        cut = "interrupted"
    except Exception as error:  # noqa: BLE001 - the agent's own failure is the result of its case, and is shown there
        failed = failure_text(error)
    finally:
        detach(token)
    took, traces = time.perf_counter() - begun, recording.traces()
    recording.close()
    return TaskRun(
        case=case,
        output=conversation.to_list(),
        error=failed,
        seconds=took,
        trace_id=conversation.trace_ids[-1] if conversation.trace_ids else _NO_TRACE,
        traces=traces,
        number=number,
        conversation=conversation,
        unfinished=cut,
    )


async def _awaited(value: Any) -> Any:
    return await value


def _known_or_scored(name: str, scorer: Scorer, run: TaskRun, cache: JudgementCache | None) -> Judgement:
    """Return the judgement of a scorer. It is cached if the scorer names its judge and its question."""
    asker: object = scorer
    asked = asker.asks(run) if cache is not None and isinstance(asker, Asking) else None
    if cache is None or asked is None:
        return scored(scorer, run)
    judge, content = asked
    found = cache.get(content, name, judge) or scored(scorer, run)
    if not found.cached:
        cache.put(content, name, judge, found)
    return found


def scored(scorer: Scorer, run: TaskRun) -> Judgement:
    """Return the judgement of a scorer about a run. Never raises."""
    try:
        returned = scorer(run)
        value = cast("Any", asyncio.run(_awaited(returned)) if inspect.isawaitable(returned) else returned)
        if isinstance(value, Judgement):
            return _checked(value)
        number = 1.0 if value is None else float(value)
    except AssertionError as error:
        return Judgement.scored(0.0, text_of_error(error).strip() or "an assertion failed")
    except Exception as error:  # noqa: BLE001 - a scorer that fails is no verdict about the case, and is shown as such
        return Judgement.error(failure_text(error))
    return _checked(Judgement.scored(number), value)


def _checked(found: Judgement, returned: Any = None) -> Judgement:
    """Return a judgement, checking its score."""
    if found.value is None or 0.0 <= found.value <= 1.0:
        return found
    returned = found.value if returned is None else returned
    return Judgement.error(f"it returned {returned!r}, which is not between 0 and 1")
