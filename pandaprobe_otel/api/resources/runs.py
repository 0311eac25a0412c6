"""`client.evaluations.trace_runs` and `.session_runs`: the routes of evaluation runs, one method for each.

`client.evaluations.run` is more convenient; these methods are for cases that it does not cover.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Generic, Literal, TypeAlias, TypeVar, Unpack
from uuid import UUID

from pandaprobe_otel.api.arguments.evaluations import (
    RunDeletion,
    RunListFilters,
    RunListQuery,
    SessionBatchArguments,
    SessionRunArguments,
    TraceBatchArguments,
    TraceRunArguments,
)
from pandaprobe_otel.api.call_steps import Steps, call
from pandaprobe_otel.api.endpoint import Endpoint, Rate, Repeat
from pandaprobe_otel.api.fields import MAX_PAGE
from pandaprobe_otel.api.models import EvalRun, Page, Score, SessionScore, TraceScore
from pandaprobe_otel.api.operation import AsyncResource, Resource, SyncResource, iteration, operation
from pandaprobe_otel.api.paging import PageWalk
from pandaprobe_otel.api.path_values import uuid_of

S = TypeVar("S", bound=Score)
# Inside a class with a method or field `list`, that name does not mean the built-in type any more.
ScoreList: TypeAlias = list[S]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEndpoints(Generic[S]):
    """Routes of the runs of one target type. They differ in the path, the bodies and the scores."""

    create: Endpoint[EvalRun]
    create_batch: Endpoint[EvalRun]
    list: Endpoint[Page[EvalRun]]
    get: Endpoint[EvalRun]
    delete: Endpoint[None]
    retry: Endpoint[EvalRun]
    scores: Endpoint[ScoreList[S]]


def _endpoints(target: Literal["trace", "session"], run: type, batch: type, scores: type[list[S]]) -> RunEndpoints[S]:
    base = f"/evaluations/{target}-runs"
    return RunEndpoints(
        create=Endpoint(method="POST", path=base, body=run, answer=EvalRun, repeat=Repeat.NEVER, rate=Rate.RUNS),
        create_batch=Endpoint(
            method="POST", path=f"{base}/batch", body=batch, answer=EvalRun, repeat=Repeat.NEVER, rate=Rate.RUNS
        ),
        list=Endpoint(method="GET", path=base, query=RunListQuery, answer=Page[EvalRun]),
        get=Endpoint(method="GET", path=base + "/{run_id}", answer=EvalRun),
        delete=Endpoint(method="DELETE", path=base + "/{run_id}", query=RunDeletion, answer=type(None)),
        retry=Endpoint(
            method="POST", path=base + "/{run_id}/retry", answer=EvalRun, repeat=Repeat.NEVER, rate=Rate.RUNS
        ),
        scores=Endpoint(method="GET", path=base + "/{run_id}/scores", answer=scores),
    )


TRACE_RUNS: Final = _endpoints("trace", TraceRunArguments, TraceBatchArguments, list[TraceScore])
SESSION_RUNS: Final = _endpoints("session", SessionRunArguments, SessionBatchArguments, list[SessionScore])


class RunOperations(Resource, Generic[S]):
    """Common operations of both kinds of runs."""

    endpoints: RunEndpoints[S]

    @operation
    def list(self, **query: Unpack[RunListQuery]) -> Steps[Page[EvalRun]]:
        """Return one page of runs, latest first."""
        return call(self._connection, self.endpoints.list, query=query)

    @iteration
    def iter(self, *, page_size: int = MAX_PAGE, **filters: Unpack[RunListFilters]) -> PageWalk[EvalRun]:
        """Iterate over all matching runs, lazily: one request for each `page_size` (1 to 200) rows."""
        return PageWalk(
            self._connection, self.endpoints.list, query=filters, key=lambda run: run.id, page_size=page_size
        )

    @operation
    def get(self, run_id: UUID | str) -> Steps[EvalRun]:
        """Return the state of a run."""
        return call(self._connection, self.endpoints.get, path=self._path(self.endpoints.get, run_id))

    @operation
    def delete(self, run_id: UUID | str, *, delete_scores: bool = False) -> Steps[None]:
        """Delete a run; with `delete_scores`, delete its scores too."""
        endpoint = self.endpoints.delete
        query: RunDeletion = {"delete_scores": True} if delete_scores else {}
        return call(self._connection, endpoint, path=self._path(endpoint, run_id), query=query)

    @operation
    def retry(self, run_id: UUID | str) -> Steps[EvalRun]:
        """Start a run of the failed pairs of another run. Raises InvalidRequest if none failed."""
        return call(self._connection, self.endpoints.retry, path=self._path(self.endpoints.retry, run_id))

    @operation
    def scores(self, run_id: UUID | str) -> Steps[ScoreList[S]]:
        """Return the scores of a run; empty for a run that does not exist (measured on server 0.5.0)."""
        return call(self._connection, self.endpoints.scores, path=self._path(self.endpoints.scores, run_id))

    def _path(self, endpoint: Endpoint[Any], run_id: UUID | str) -> dict[str, str]:
        return {"run_id": uuid_of("run_id", run_id, what=str(endpoint))}


class TraceRunOperations(RunOperations[TraceScore]):
    """Runs over traces."""

    endpoints = TRACE_RUNS

    @operation
    def create(self, **run: Unpack[TraceRunArguments]) -> Steps[EvalRun]:
        """Evaluate the traces that match `filters`; without filters, all of the project."""
        return call(self._connection, TRACE_RUNS.create, body=run)

    @operation
    def create_batch(self, **run: Unpack[TraceBatchArguments]) -> Steps[EvalRun]:
        """Evaluate the given traces. Ids that do not exist count as evaluated, but get no score (measured)."""
        return call(self._connection, TRACE_RUNS.create_batch, body=run)


class SessionRunOperations(RunOperations[SessionScore]):
    """Runs over sessions."""

    endpoints = SESSION_RUNS

    @operation
    def create(self, **run: Unpack[SessionRunArguments]) -> Steps[EvalRun]:
        """Evaluate the sessions that match `filters`; without filters, all of the project."""
        return call(self._connection, SESSION_RUNS.create, body=run)

    @operation
    def create_batch(self, **run: Unpack[SessionBatchArguments]) -> Steps[EvalRun]:
        """Evaluate the given sessions. Ids that do not exist count as evaluated, but get no score (measured)."""
        return call(self._connection, SESSION_RUNS.create_batch, body=run)


class TraceRuns(TraceRunOperations, SyncResource):
    """`Client.evaluations.trace_runs`."""


class AsyncTraceRuns(TraceRunOperations, AsyncResource):
    """`AsyncClient.evaluations.trace_runs`."""


class SessionRuns(SessionRunOperations, SyncResource):
    """`Client.evaluations.session_runs`."""


class AsyncSessionRuns(SessionRunOperations, AsyncResource):
    """`AsyncClient.evaluations.session_runs`."""
