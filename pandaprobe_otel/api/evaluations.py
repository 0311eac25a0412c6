"""`client.evaluations`: judge traces and sessions."""

# pyright: reportReturnType=false
# The signature of a method that is one request is the whole method.

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Unpack
from uuid import UUID

from pandaprobe_otel.api.calls import Connection, Steps, call, checked, invalid
from pandaprobe_otel.api.fields import Id, Rows, TraceRef
from pandaprobe_otel.api.models import EvalRun, Metric, Provider, RunTemplate, TraceScore
from pandaprobe_otel.api.operation import D, Resource, endpoint, operation, request
from pandaprobe_otel.api.results import Pair, RunResult
from pandaprobe_otel.api.runs import Run, RunFilters, RunOperations, SessionRuns, TraceRuns, wait_for_run
from pandaprobe_otel.errors import FieldError, InsufficientEvidence, InvalidRequest, NotFound

_FILTERS_OF_OTHERS: Final = {
    "trace": frozenset({"has_error", "min_trace_count"}),
    "session": frozenset({"status", "trace_name"}),
}
"""Filters that are only for the other kind of target."""


class Evaluations(Resource[D]):
    """Evaluation runs, and the available metrics and judges."""

    def __init__(self, connection: Connection, driver: D) -> None:
        super().__init__(connection, driver)
        self.trace_runs: Final = TraceRuns(connection, driver)
        self.session_runs: Final = SessionRuns(connection, driver)
        self._of_traces: Collection[str] = ()
        self._of_sessions: Collection[str] = ()

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
    ) -> Steps[Run[D]]:
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
        names = (metrics,) if isinstance(metrics, str) else tuple(metrics)
        if not names:
            raise _refused("metrics", "must name at least one; trace_metrics() and session_metrics() list them")
        if sampling_rate is not None and not 0 < sampling_rate <= 1:
            raise _refused("sampling_rate", f"must be over 0 and up to 1, not {sampling_rate!r}")
        chosen = _given(traces=traces, session=session, everything=everything or None)
        if len(chosen) > 1:
            raise _refused("", f"cannot take {' and '.join(chosen)} together")
        if not chosen and not filters:
            raise _refused("", "names nothing to evaluate: pass traces=, session=, filters, or everything=True for all")
        kind = yield from self._kind_of(names)
        options = _given(sampling_rate=sampling_rate, name=name, model=model, signal_weights=signal_weights)
        body = {"metrics": [*names], **options}
        sessions = [session] if isinstance(session, str) else session
        route, targets = _targets(kind, traces, sessions, _given(**filters), body)
        return self._run((yield from call(self._connection, route.endpoint, body=body | targets)))

    @operation
    def get(self, run_id: UUID | str) -> Steps[Run[D]]:
        """Return an existing run of traces or of sessions, to wait for or inspect."""
        path, get = {"run_id": run_id}, RunOperations.get.endpoint
        try:
            state = yield from call(self._connection, get.of("trace"), path=path)
        except NotFound:  # server 0.5.0 returns runs of sessions on the first path too
            state = yield from call(self._connection, get.of("session"), path=path)
        return self._run(state)

    @endpoint("GET", "/evaluations/trace-metrics")
    def trace_metrics(self) -> Rows[Metric]:
        """Return the metrics of traces."""

    @endpoint("GET", "/evaluations/trace-metrics")
    def metrics(self) -> Rows[Metric]:
        """Return the metrics of traces: the official SDK's name for `trace_metrics`."""

    @endpoint("GET", "/evaluations/session-metrics")
    def session_metrics(self) -> Rows[Metric]:
        """Return the metrics of sessions."""

    @endpoint("GET", "/evaluations/providers")
    def providers(self) -> Rows[Provider]:
        """Return the providers of judge models, with the reason if one is unavailable."""

    @endpoint("GET", "/evaluations/trace-runs/template")
    def template(self, metric: str) -> RunTemplate:
        """Return the arguments of a run of a trace metric, with the defaults and the judge's prompts."""

    @operation
    def create(
        self,
        trace_ids: Iterable[TraceRef],
        metrics: Sequence[str],
        *,
        name: str | None = None,
        model: str | None = None,
    ) -> Steps[EvalRun]:
        """Evaluate these traces, each once, as with the official SDK. `run` also accepts sessions and filters, and
        returns a run to wait for.

        Raises:
            InvalidRequest: a metric is unknown, or there is no trace or no metric.
            OutcomeUnknown: no answer came; `client.look_up` finds the run, if there is one.
        """
        body = {"trace_ids": [*trace_ids], "metrics": [*dict.fromkeys(metrics)], **_given(name=name, model=model)}
        return call(self._connection, TraceRuns.create_batch.endpoint, body=body)

    @endpoint("GET", "/evaluations/trace-runs/{run_id}/scores")
    def scores(self, run_id: UUID | str) -> Rows[TraceScore]:
        """Return the scores that a run over traces has given so far."""

    @operation
    def wait(
        self, run_id: UUID | str, *, trace_ids: Iterable[TraceRef], metrics: Iterable[str], timeout: float = 120.0
    ) -> Steps[RunResult]:
        """Wait until a run over traces is completed, as with the official SDK. Return it if each trace has a number for
        each metric.

        `timeout` is in seconds. `Run.wait` returns the result without this check.

        Raises:
            InsufficientEvidence: a score is missing, failed, or not a number.
            RunFailed: the run crashed.
            WaitTimeout: the run was not completed in time.
        """
        traces = checked(list[Id], [*trace_ids], what="The wait for a run")
        wanted = [Pair(str(trace), metric) for metric in metrics for trace in traces]
        if not wanted:
            raise InvalidRequest("evaluations.wait needs the traces and the metrics of the expected scores.")
        state = yield from wait_for_run(self._connection, run_id, timeout, lambda _: None)
        scores = yield from call(self._connection, TraceRuns.scores.endpoint, path={"run_id": run_id})
        result = RunResult(run=state, scores=tuple(scores))
        if unusable := [*_without_number(result, wanted)]:
            first = unusable[0]
            raise InsufficientEvidence(
                f"Evaluation run {run_id} has no number for {len(unusable)} of {len(wanted)} pairs of trace and metric;"
                f" the first is {first.metric} of {first.target}."
            )
        return result

    def _run(self, state: EvalRun) -> Run[D]:
        return Run(self._connection, self._driver, state)

    def _kind_of(self, metrics: Sequence[str]) -> Steps[str]:
        """Return the kind of targets of metrics, whose names are requested once, those of sessions only if needed.

        Raises:
            InvalidRequest: metrics are unknown, or of both kinds.
        """
        if not self._of_traces:
            known = yield from call(self._connection, Evaluations.trace_metrics.endpoint)
            self._of_traces = sorted(metric.name for metric in known)
        if set(metrics).issubset(self._of_traces):
            return "trace"
        if not self._of_sessions:
            known = yield from call(self._connection, Evaluations.session_metrics.endpoint)
            self._of_sessions = sorted(metric.name for metric in known)
        if unknown := [name for name in metrics if name not in self._of_traces and name not in self._of_sessions]:
            raise _refused(
                "metrics",
                f"{', '.join(unknown)} unknown; metrics of traces: {', '.join(self._of_traces) or 'none'}; of sessions:"
                f" {', '.join(self._of_sessions) or 'none'}",
            )
        if not set(metrics).issubset(self._of_sessions):
            raise _refused("metrics", "mix metrics of traces and of sessions: start one run for each")
        return "session"


def _targets(
    kind: str,
    traces: Iterable[TraceRef] | None,
    sessions: Sequence[str] | None,
    filters: dict[str, Any],
    body: Mapping[str, Any],
) -> tuple[request[Any, EvalRun], dict[str, Any]]:
    """Return the route of a run, and the part of its body that selects the targets.

    Raises:
        InvalidRequest: the choice does not fit the kind of metrics.
    """
    if wrong := sorted(_FILTERS_OF_OTHERS[kind] & filters.keys()):
        other = "traces" if kind == "session" else "sessions"
        raise _refused(wrong[0], f"is a filter for metrics of {other}")
    if kind == "trace" and "signal_weights" in body:
        raise _refused("signal_weights", "are only for metrics of sessions")
    if kind == "session" and traces is not None:
        raise _refused("traces", f"cannot be given for metrics of sessions ({', '.join(body['metrics'])})")
    targets = traces if kind == "trace" else sessions
    if targets is not None:
        # The routes for given targets accept no filters and no sampling rate; the server would silently ignore them.
        if given := [*filters, *(body.keys() & {"sampling_rate"})]:
            raise _refused(given[0], f"cannot be combined with {'traces' if kind == 'trace' else 'session'}=")
        routes = TraceRuns.create_batch if kind == "trace" else SessionRuns.create_batch
        return routes, {f"{kind}_ids": [*targets]}
    if sessions is not None:
        if len(sessions) != 1:
            raise _refused("session", "must be a single session for metrics of traces; start one run per session")
        filters["session_id"] = sessions[0]
    if "trace_name" in filters:
        filters["name"] = filters.pop("trace_name")
    return TraceRuns.create if kind == "trace" else SessionRuns.create, {"filters": filters} if filters else {}


def _refused(field: str, message: str) -> InvalidRequest:
    return invalid("The evaluation run", FieldError(field, message))


def _without_number(result: RunResult, wanted: Sequence[Pair]) -> Iterator[Pair]:
    for pair in wanted:
        score = result.by_target.get(pair.target, {}).get(pair.metric)
        if score is None or score.status != "SUCCESS" or not isinstance(score.parsed, float):
            yield pair


def _given(**options: Any) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}
