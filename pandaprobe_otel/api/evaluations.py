"""`client.evaluations`: judge traces and sessions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeAlias, TypeVar, Unpack
from uuid import UUID

from pandaprobe_otel.api.calls import AsyncDriver, Connection, Steps, SyncDriver, call, invalid
from pandaprobe_otel.api.endpoint import Endpoint
from pandaprobe_otel.api.models import EvalRun, Metric, Provider, RunTemplate, TraceScore
from pandaprobe_otel.api.operation import (
    AsyncResource,
    Resource,
    SyncResource,
    TraceRef,
    operation,
    trace_uuid_of,
    uuid_of,
)
from pandaprobe_otel.api.results import Pair, RunResult
from pandaprobe_otel.api.runs import (
    SESSION_RUNS,
    TRACE_RUNS,
    AsyncRun,
    AsyncSessionRuns,
    AsyncTraceRuns,
    Run,
    RunFilters,
    SessionRuns,
    TemplateQuery,
    TraceBatchArguments,
    TraceRuns,
    wait_for_run,
)
from pandaprobe_otel.errors import FieldError, InsufficientEvidence, InvalidRequest, NotFound

_WHAT: Final = "The evaluation run"
_TRACES_ONLY: Final = frozenset({"status", "trace_name"})
_SESSIONS_ONLY: Final = frozenset({"has_error", "min_trace_count"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Arguments of `evaluations.run`."""

    metrics: Sequence[str]
    traces: Iterable[TraceRef] | None
    sessions: Sequence[str] | None
    filters: Mapping[str, Any]
    everything: bool
    options: Mapping[str, Any]
    """Name, model, sampling rate and weights, if given."""


def check_choice(choice: Choice) -> None:
    """Raise InvalidRequest for arguments that are wrong whatever the metrics."""
    if not choice.metrics:
        raise _refused("metrics", "must name at least one; trace_metrics() and session_metrics() list them")
    rate = choice.options.get("sampling_rate")
    if rate is not None and not 0 < rate <= 1:
        raise _refused("sampling_rate", f"must be over 0 and up to 1, not {rate!r}")
    chosen = {
        "traces": choice.traces is not None,
        "session": choice.sessions is not None,
        "everything": choice.everything,
    }
    named = [name for name, given in chosen.items() if given]
    if not named and not choice.filters:
        raise _refused("", "names nothing to evaluate: pass traces=, session=, filters, or everything=True for all")
    if len(named) > 1:
        raise _refused("", f"cannot take {' and '.join(named)} together")


def check_metrics(metrics: Sequence[str], of_traces: Collection[str], of_sessions: Collection[str]) -> None:
    """Raise InvalidRequest for unknown and for mixed metrics; the message lists the known ones."""
    unknown = [name for name in metrics if name not in of_traces and name not in of_sessions]
    if unknown:
        raise _refused(
            "metrics",
            f"{_listed(unknown)} unknown; metrics of traces: {_listed(of_traces)}; of sessions: {_listed(of_sessions)}",
        )
    if any(name in of_traces for name in metrics) and any(name in of_sessions for name in metrics):
        raise _refused("metrics", "mix metrics of traces and of sessions: start one run for each")


def request_of(choice: Choice, *, of_sessions: bool) -> tuple[Endpoint[EvalRun], dict[str, Any]]:
    """Return the route and the body that evaluate the choice.

    Raises:
        InvalidRequest: the choice does not fit the kind of metrics.
    """
    body = {"metrics": [*choice.metrics], **choice.options}
    return _of_sessions(choice, body) if of_sessions else _of_traces(choice, body)


def _of_traces(choice: Choice, body: dict[str, Any]) -> tuple[Endpoint[EvalRun], dict[str, Any]]:
    if "signal_weights" in body:
        raise _refused("signal_weights", "are only for metrics of sessions")
    filters = _filters(choice, _SESSIONS_ONLY, "metrics of sessions")
    if "trace_name" in filters:
        filters["name"] = filters.pop("trace_name")
    if choice.traces is not None:
        _no_filters(filters, body, "traces")
        ids = [trace_uuid_of(trace, what=_WHAT) for trace in choice.traces]
        return TRACE_RUNS.create_batch, {**body, "trace_ids": [*dict.fromkeys(ids)]}
    if choice.sessions is not None:
        if len(choice.sessions) != 1:
            raise _refused("session", "must be a single session for metrics of traces; start one run per session")
        filters["session_id"] = choice.sessions[0]
    return TRACE_RUNS.create, {**body, "filters": filters} if filters else body


def _of_sessions(choice: Choice, body: dict[str, Any]) -> tuple[Endpoint[EvalRun], dict[str, Any]]:
    if choice.traces is not None:
        raise _refused("traces", f"cannot be given for metrics of sessions ({_listed(choice.metrics)})")
    filters = _filters(choice, _TRACES_ONLY, "metrics of traces")
    if choice.sessions is not None:
        _no_filters(filters, body, "session")
        return SESSION_RUNS.create_batch, {**body, "session_ids": [*dict.fromkeys(choice.sessions)]}
    return SESSION_RUNS.create, {**body, "filters": filters} if filters else body


def _filters(choice: Choice, foreign: frozenset[str], whose: str) -> dict[str, Any]:
    filters = {name: value for name, value in choice.filters.items() if value is not None}
    if wrong := sorted(foreign & filters.keys()):
        raise _refused(wrong[0], f"is a filter for {whose}")
    return filters


def _no_filters(filters: Mapping[str, Any], body: Mapping[str, Any], name: str) -> None:
    # The routes for given targets accept no filters and no sampling rate; the server would silently ignore them.
    given = [*filters, *(("sampling_rate",) if "sampling_rate" in body else ())]
    if given:
        raise _refused(given[0], f"cannot be combined with {name}=")


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"


def _refused(field: str, message: str) -> InvalidRequest:
    return invalid(_WHAT, FieldError(field, message))


TraceScores: TypeAlias = list[TraceScore]


class OfficialEvaluations(Resource):
    """Runs over given traces, as the official SDK starts and reads them."""

    @operation
    def create(
        self,
        trace_ids: Iterable[TraceRef],
        metrics: Sequence[str],
        *,
        name: str | None = None,
        model: str | None = None,
    ) -> Steps[EvalRun]:
        """Evaluate these traces, each once. `run` also accepts sessions and filters, and returns a run to wait for.

        Raises:
            InvalidRequest: a metric is unknown, or there is no trace or no metric.
            OutcomeUnknown: no answer came; `client.look_up` finds the run, if there is one.
        """
        ids = [trace_uuid_of(trace, what=str(TRACE_RUNS.create_batch)) for trace in trace_ids]
        body: TraceBatchArguments = {"trace_ids": [*dict.fromkeys(ids)], "metrics": [*dict.fromkeys(metrics)]}
        if name is not None:
            body["name"] = name
        if model is not None:
            body["model"] = model
        return call(self._connection, TRACE_RUNS.create_batch, body=body)

    @operation
    def scores(self, run_id: UUID | str) -> Steps[TraceScores]:
        """Return the scores that a run over traces has given so far."""
        path = {"run_id": uuid_of("run_id", run_id, what=str(TRACE_RUNS.scores))}
        return call(self._connection, TRACE_RUNS.scores, path=path)

    @operation
    def wait(
        self, run_id: UUID | str, *, trace_ids: Iterable[TraceRef], metrics: Iterable[str], timeout: float = 120.0
    ) -> Steps[RunResult]:
        """Wait until a run over traces is completed. Return it if each trace has a number for each metric.

        `timeout` is in seconds. `Run.wait` returns the result without this check.

        Raises:
            InsufficientEvidence: a score is missing, failed, or not a number.
            RunFailed: the run crashed.
            WaitTimeout: the run was not completed in time.
        """
        traces = [trace_uuid_of(trace, what=str(TRACE_RUNS.get)) for trace in trace_ids]
        wanted = [Pair(trace, metric) for metric in metrics for trace in traces]
        if not wanted:
            raise InvalidRequest("evaluations.wait needs the traces and the metrics of the expected scores.")
        return self._waited(uuid_of("run_id", run_id, what=str(TRACE_RUNS.get)), wanted, timeout)

    def _waited(self, run_id: str, wanted: Sequence[Pair], timeout: float) -> Steps[RunResult]:
        state = yield from wait_for_run(self._connection, TRACE_RUNS.get, run_id, timeout, progress=lambda _: None)
        scores = yield from call(self._connection, TRACE_RUNS.scores, path={"run_id": run_id})
        result = RunResult(run=state, scores=tuple(scores))
        if unusable := [*_without_number(result, wanted)]:
            first = unusable[0]
            raise InsufficientEvidence(
                f"Evaluation run {run_id} has no number for {len(unusable)} of {len(wanted)} pairs of trace and metric;"
                f" the first is {first.metric} of {first.target}."
            )
        return result


def _without_number(result: RunResult, wanted: Sequence[Pair]) -> Iterator[Pair]:
    for pair in wanted:
        score = result.by_target.get(pair.target, {}).get(pair.metric)
        if score is None or score.status != "SUCCESS" or not isinstance(score.parsed, float):
            yield pair


R = TypeVar("R", bound=Resource)

Metrics: TypeAlias = list[Metric]
Providers: TypeAlias = list[Provider]

TRACE_METRICS: Final = Endpoint(method="GET", path="/evaluations/trace-metrics", answer=Metrics)
SESSION_METRICS: Final = Endpoint(method="GET", path="/evaluations/session-metrics", answer=Metrics)
PROVIDERS: Final = Endpoint(method="GET", path="/evaluations/providers", answer=Providers)
TEMPLATE: Final = Endpoint(
    method="GET", path="/evaluations/trace-runs/template", query=TemplateQuery, answer=RunTemplate
)


class EvaluationOperations(OfficialEvaluations, ABC, Generic[R]):
    """Evaluation runs, and the available metrics and judges."""

    _of_traces: frozenset[str] = frozenset()
    _of_sessions: frozenset[str] = frozenset()

    @operation
    def run(
        self,
        metrics: str | Sequence[str],
        *,
        traces: Iterable[TraceRef] | None = None,
        session: str | Sequence[str] | None = None,
        everything: bool = False,
        sampling_rate: float | None = None,
        name: str | None = None,
        model: str | None = None,
        signal_weights: Mapping[str, float] | None = None,
        **filters: Unpack[RunFilters],
    ) -> Steps[R]:
        """Start an evaluation run and return it; its `wait()` returns the scores.

        metrics: names of metrics of traces (`trace_metrics`) or of sessions (`session_metrics`).
        traces: the traces to evaluate, by their ids or as objects.
        session: a session id. Metrics of traces evaluate its traces. Metrics of sessions evaluate the session itself,
            and accept several ids.
        filters: without `traces` and `session`, these select the targets; `everything` selects the whole project.
            `sampling_rate` selects a share of them.
        name, model: a label for the run, and the judge (by default the server's own).
        signal_weights: for metrics of sessions, the weight of each signal.

        Each pair of target and metric is billed. No evaluation is repeated by accident: if the answer to the request is
        lost, the request is not sent again.

        Raises:
            InvalidRequest: a metric is unknown, no target was chosen, or no target matches.
            OutcomeUnknown: no answer came; `client.look_up` finds the run, if there is one.
        """
        return self._started(
            Choice(
                metrics=(metrics,) if isinstance(metrics, str) else tuple(metrics),
                traces=traces,
                sessions=(session,) if isinstance(session, str) else session,
                filters=filters,
                everything=everything,
                options=_given(
                    sampling_rate=sampling_rate,
                    name=name,
                    model=model,
                    signal_weights=None if signal_weights is None else dict(signal_weights),
                ),
            )
        )

    @operation
    def get(self, run_id: UUID | str) -> Steps[R]:
        """Return an existing run of traces or of sessions, to wait for or inspect."""
        return self._found(uuid_of("run_id", run_id, what=str(TRACE_RUNS.get)))

    @operation
    def trace_metrics(self) -> Steps[Metrics]:
        """Return the metrics of traces."""
        return call(self._connection, TRACE_METRICS)

    @operation
    def metrics(self) -> Steps[Metrics]:
        """Return the metrics of traces: the official SDK's name for `trace_metrics`."""
        return call(self._connection, TRACE_METRICS)

    @operation
    def session_metrics(self) -> Steps[Metrics]:
        """Return the metrics of sessions."""
        return call(self._connection, SESSION_METRICS)

    @operation
    def providers(self) -> Steps[Providers]:
        """Return the providers of judge models, with the reason if one is unavailable."""
        return call(self._connection, PROVIDERS)

    @operation
    def template(self, metric: str) -> Steps[RunTemplate]:
        """Return the arguments of a run of a trace metric, with the defaults and the judge's prompts."""
        return call(self._connection, TEMPLATE, query={"metric": metric})

    @abstractmethod
    def _run(self, state: EvalRun) -> R:
        """Return the run of this state, for the kind of client."""

    def _started(self, choice: Choice) -> Steps[R]:
        check_choice(choice)
        yield from self._learn_metrics(choice.metrics)
        check_metrics(choice.metrics, sorted(self._of_traces), sorted(self._of_sessions))
        endpoint, body = request_of(choice, of_sessions=choice.metrics[0] in self._of_sessions)
        state = yield from call(self._connection, endpoint, body=body)
        return self._run(state)

    def _found(self, run_id: str) -> Steps[R]:
        path = {"run_id": run_id}
        try:
            state = yield from call(self._connection, TRACE_RUNS.get, path=path)
        except NotFound:  # server 0.5.0 returns runs of sessions on the first path too
            state = yield from call(self._connection, SESSION_RUNS.get, path=path)
        return self._run(state)

    def _learn_metrics(self, wanted: Sequence[str]) -> Steps[None]:
        """Request the names of the metrics once; request those of session metrics only when needed."""
        if not self._of_traces:
            metrics = yield from call(self._connection, TRACE_METRICS)
            self._of_traces = frozenset(metric.name for metric in metrics)
        if not self._of_sessions and not self._of_traces.issuperset(wanted):
            metrics = yield from call(self._connection, SESSION_METRICS)
            self._of_sessions = frozenset(metric.name for metric in metrics)


class Evaluations(EvaluationOperations[Run], SyncResource):
    """`Client.evaluations`."""

    def __init__(self, connection: Connection, driver: SyncDriver) -> None:
        super().__init__(connection, driver)
        self.trace_runs: Final = TraceRuns(connection, driver)
        self.session_runs: Final = SessionRuns(connection, driver)

    def _run(self, state: EvalRun) -> Run:
        return Run(self._connection, self._driver, state)


class AsyncEvaluations(EvaluationOperations[AsyncRun], AsyncResource):
    """`AsyncClient.evaluations`."""

    def __init__(self, connection: Connection, driver: AsyncDriver) -> None:
        super().__init__(connection, driver)
        self.trace_runs: Final = AsyncTraceRuns(connection, driver)
        self.session_runs: Final = AsyncSessionRuns(connection, driver)

    def _run(self, state: EvalRun) -> AsyncRun:
        return AsyncRun(self._connection, self._driver, state)


def _given(**options: Any) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}
