"""Names of the official SDK's `PlatformClient`, so that its users' calls keep working."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeAlias
from uuid import UUID

from pandaprobe_otel.api.arguments.evaluations import TraceBatchArguments
from pandaprobe_otel.api.call_steps import Steps, call
from pandaprobe_otel.api.enums import ScoreStatus
from pandaprobe_otel.api.models import EvalRun, TraceScore
from pandaprobe_otel.api.operation import Resource, operation
from pandaprobe_otel.api.path_values import TraceRef, trace_uuid_of, uuid_of
from pandaprobe_otel.api.resources.runs import TRACE_RUNS
from pandaprobe_otel.api.runs.result import Pair, RunResult
from pandaprobe_otel.api.runs.waiting import wait_for_run
from pandaprobe_otel.errors import InsufficientEvidence, InvalidRequest

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
        if score is None or score.status != ScoreStatus.SUCCESS or not isinstance(score.parsed, float):
            yield pair
