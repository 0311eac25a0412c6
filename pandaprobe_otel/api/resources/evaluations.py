"""`client.evaluations`: judge traces and sessions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Generic, TypeAlias, TypeVar, Unpack
from uuid import UUID

from pandaprobe_otel.api.arguments.evaluations import RunFilters, TemplateQuery
from pandaprobe_otel.api.call_steps import Connection, Steps, call
from pandaprobe_otel.api.drivers import AsyncDriver, SyncDriver
from pandaprobe_otel.api.endpoint import Endpoint
from pandaprobe_otel.api.models import EvalRun, Metric, Provider, RunTemplate
from pandaprobe_otel.api.operation import AsyncResource, Resource, SyncResource, operation
from pandaprobe_otel.api.path_values import TraceRef, uuid_of
from pandaprobe_otel.api.resources.official_names import OfficialEvaluations
from pandaprobe_otel.api.resources.runs import (
    SESSION_RUNS,
    TRACE_RUNS,
    AsyncSessionRuns,
    AsyncTraceRuns,
    SessionRuns,
    TraceRuns,
)
from pandaprobe_otel.api.runs.choice import Choice, check_choice, check_metrics, request_of
from pandaprobe_otel.api.runs.run import AsyncRun, Run
from pandaprobe_otel.errors import NotFound

R = TypeVar("R", bound=Resource)

Metrics: TypeAlias = list[Metric]
Providers: TypeAlias = list[Provider]

TRACE_METRICS: Final = Endpoint(method="GET", path="/evaluations/trace-metrics", answer=Metrics)
SESSION_METRICS: Final = Endpoint(method="GET", path="/evaluations/session-metrics", answer=Metrics)
PROVIDERS: Final = Endpoint(method="GET", path="/evaluations/providers", answer=Providers)
TEMPLATE: Final = Endpoint(
    method="GET", path="/evaluations/trace-runs/template", query=TemplateQuery, answer=RunTemplate
)


class EvaluationOperations(OfficialEvaluations, Generic[R]):
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

    def _run(self, state: EvalRun) -> R:
        raise NotImplementedError

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
