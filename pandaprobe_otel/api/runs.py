"""Evaluation runs: their routes (`client.evaluations.trace_runs`, `.session_runs`), and a started run to wait for."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Annotated, Any, Final, Generic, Literal, Required, Self, TypeAlias, TypeVar, Unpack
from uuid import UUID

from pydantic import Field

from pandaprobe_otel.api.calls import AsyncDriver, Connection, Pause, Steps, SyncDriver, call
from pandaprobe_otel.api.endpoint import Endpoint, Rate, Repeat
from pandaprobe_otel.api.fields import (
    MAX_PAGE,
    Arguments,
    EvaluationStatus,
    Id,
    Known,
    Moment,
    Paging,
    Share,
)
from pandaprobe_otel.api.models import EvalRun, Page, Score, SessionScore, TraceScore
from pandaprobe_otel.api.operation import AsyncResource, PageWalk, Resource, SyncResource, iteration, operation, uuid_of
from pandaprobe_otel.api.results import RunResult
from pandaprobe_otel.enums import TraceStatus
from pandaprobe_otel.errors import RunFailed, WaitTimeout

MetricNames = Annotated[list[str], Field(min_length=1)]
Weights = dict[str, float]


class TraceRunFilters(Arguments, total=False):
    """Filters of the traces to evaluate. The server would ignore an unknown filter and evaluate everything."""

    date_from: Moment | None
    date_to: Moment | None
    status: Known[TraceStatus] | None
    session_id: str | None
    user_id: str | None
    tags: list[str] | None
    name: str | None


class SessionRunFilters(Arguments, total=False):
    """Filters of the sessions to evaluate."""

    date_from: Moment | None
    date_to: Moment | None
    user_id: str | None
    has_error: bool | None
    tags: list[str] | None
    min_trace_count: Annotated[int, Field(ge=1)] | None


class TraceRunArguments(Arguments, total=False):
    """Run over the traces that match `filters`, or over a share of them."""

    name: str | None
    metrics: Required[MetricNames]
    filters: TraceRunFilters
    sampling_rate: Share
    model: str | None


class TraceBatchArguments(Arguments, total=False):
    """Run over given traces."""

    trace_ids: Required[Annotated[list[Id], Field(min_length=1)]]
    metrics: Required[MetricNames]
    name: str | None
    model: str | None


class SessionRunArguments(Arguments, total=False):
    """Run over the sessions that match `filters`, or over a share of them."""

    name: str | None
    metrics: Required[MetricNames]
    filters: SessionRunFilters
    sampling_rate: Share
    model: str | None
    signal_weights: Weights | None


class SessionBatchArguments(Arguments, total=False):
    """Run over given sessions."""

    session_ids: Required[Annotated[list[str], Field(min_length=1)]]
    metrics: Required[MetricNames]
    name: str | None
    model: str | None
    signal_weights: Weights | None


class RunFilters(Arguments, total=False):
    """Filters of `evaluations.run`.

    `status` and `trace_name` are for traces, `has_error` and `min_trace_count` for sessions, the others for both.
    """

    date_from: Moment | None
    date_to: Moment | None
    user_id: str | None
    tags: list[str] | None
    status: Known[TraceStatus] | None
    trace_name: str | None
    has_error: bool | None
    min_trace_count: Annotated[int, Field(ge=1)] | None


class RunListFilters(Arguments, total=False):
    """Filters of a list of runs."""

    status: EvaluationStatus | None


class RunListQuery(RunListFilters, Paging, total=False):
    """Query of GET /evaluations/trace-runs and session-runs."""


class RunDeletion(Arguments, total=False):
    """Query of DELETE /evaluations/trace-runs/{run_id} and session-runs."""

    delete_scores: bool


class TemplateQuery(Arguments):
    """Query of GET /evaluations/trace-runs/template."""

    metric: str


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


Progress: TypeAlias = bool | Callable[[EvalRun], None] | None
"""True: a bar on standard error; None: a bar if that is a terminal; False: nothing; a function: gets each state."""


@contextmanager
def shown(progress: Progress) -> Generator[Callable[[EvalRun], None]]:
    """Yield the function that shows each state. Without rich (extra `cli`), there is no bar."""
    if callable(progress):
        yield progress
        return
    wanted = sys.stderr.isatty() if progress is None else progress
    if not wanted or find_spec("rich") is None:
        yield _nothing
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("evaluating", total=None)

        def show(run: EvalRun) -> None:
            failed = f", {run.failed_count} failed" if run.failed_count else ""
            description = f"{run.status.lower()}{failed}"
            bar.update(task, total=run.total_targets, completed=run.evaluated_count, description=description)

        yield show


def _nothing(run: EvalRun) -> None:
    return


_FIRST_PAUSE_S: Final = 0.3
_LONGEST_PAUSE_S: Final = 2.0
"""Longest pause: 30 requests a minute at the end, a sixth of the limit for the path of one run."""
_FAILED_FOR_GOOD_S: Final = 25.0
"""Time after which FAILED is final. The server retries a crashed run twice, 10 s apart (measured on 0.5.0)."""


def wait_for_run(
    connection: Connection,
    get: Endpoint[EvalRun],
    run_id: str,
    timeout_s: float,
    progress: Callable[[EvalRun], None],
) -> Steps[EvalRun]:
    """Request a run until it is COMPLETED, passing each state to `progress`.

    Raises:
        RunFailed: the run is FAILED and stayed so for 25 s.
        WaitTimeout: `timeout_s` seconds have passed; the run continues.
    """
    deadline = connection.clock() + timeout_s
    pause_s = _FIRST_PAUSE_S
    failed_at: float | None = None
    while True:
        run = yield from call(connection.until(deadline), get, path={"run_id": run_id})
        progress(run)
        now = connection.clock()
        if run.status == "COMPLETED":
            return run
        failed_at = (failed_at or now) if run.status == "FAILED" else None
        if failed_at is not None and (now - failed_at >= _FAILED_FOR_GOOD_S or now >= deadline):
            raise RunFailed(f"Evaluation run {run_id} failed: {run.error_message or 'the server gives no reason'}.")
        if now >= deadline:
            raise WaitTimeout(
                f"Evaluation run {run_id} is {run.status} after {timeout_s:g} s, with {run.evaluated_count} of"
                f" {run.total_targets} targets evaluated. It continues: wait again, or check it later."
            )
        yield Pause(min(pause_s, deadline - now))
        pause_s = min(pause_s * 1.5, _LONGEST_PAUSE_S)


R = TypeVar("R", bound=Resource)


class StartedRun(Resource, ABC, Generic[R]):
    """Parts that `Run` and `AsyncRun` share. `state` is the server's latest description of the run."""

    state: EvalRun

    @property
    def id(self) -> UUID:
        """Id of the run."""
        return self.state.id

    @operation
    def wait(self, timeout: float = 300.0, *, progress: Progress = None) -> Steps[RunResult]:
        """Wait until the run is completed and return its result. `timeout` is in seconds.

        Interrupting or cancelling the wait leaves the run alone: wait again, from anywhere (`evaluations.get`).

        Raises:
            RunFailed: the run crashed. A failed metric does not raise: see `RunResult.failed`.
            WaitTimeout: the run was not completed in time.
        """
        with shown(progress) as show:
            self.state = yield from wait_for_run(
                self._connection, self._endpoints.get, str(self.id), timeout, progress=show
            )
        return (yield from self._result())

    @operation
    def refresh(self) -> Steps[EvalRun]:
        """Request the current state of the run."""
        return self._refreshed()

    @operation
    def result(self) -> Steps[RunResult]:
        """Return the result so far, even if the run is not completed."""
        return self._current_result()

    @operation
    def retry_failed(self) -> Steps[R]:
        """Start a run of the pairs of target and metric that failed here. Raises InvalidRequest if none failed."""
        return self._retried()

    @operation
    def delete(self, *, delete_scores: bool = False) -> Steps[None]:
        """Delete the run; with `delete_scores`, delete its scores too."""
        query = {"delete_scores": True} if delete_scores else {}
        return call(self._connection, self._endpoints.delete, path={"run_id": self.id}, query=query)

    @property
    def _endpoints(self) -> RunEndpoints[Any]:
        return SESSION_RUNS if self.state.target_type == "SESSION" else TRACE_RUNS

    @abstractmethod
    def _another(self, state: EvalRun) -> R:
        """Return the run of this state, for the kind of client."""

    def _refreshed(self) -> Steps[EvalRun]:
        self.state = yield from call(self._connection, self._endpoints.get, path={"run_id": self.id})
        return self.state

    def _current_result(self) -> Steps[RunResult]:
        yield from self._refreshed()
        return (yield from self._result())

    def _result(self) -> Steps[RunResult]:
        scores = yield from call(self._connection, self._endpoints.scores, path={"run_id": self.id})
        return RunResult(run=self.state, scores=tuple(scores))

    def _retried(self) -> Steps[R]:
        state = yield from call(self._connection, self._endpoints.retry, path={"run_id": self.id})
        return self._another(state)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id} {self.state.status}>"


class Run(StartedRun["Run"], SyncResource):
    """Run that was started with `Client`."""

    def __init__(self, connection: Connection, driver: SyncDriver, state: EvalRun) -> None:
        super().__init__(connection, driver)
        self.state = state

    def _another(self, state: EvalRun) -> Self:
        return type(self)(self._connection, self._driver, state)


class AsyncRun(StartedRun["AsyncRun"], AsyncResource):
    """Run that was started with `AsyncClient`."""

    def __init__(self, connection: Connection, driver: AsyncDriver, state: EvalRun) -> None:
        super().__init__(connection, driver)
        self.state = state

    def _another(self, state: EvalRun) -> Self:
        return type(self)(self._connection, self._driver, state)
