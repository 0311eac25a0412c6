"""Evaluation runs: their routes (`client.evaluations.trace_runs`, `.session_runs`), and a started run to wait for."""

# pyright: reportReturnType=false
# The signature of a method that is one request is the whole method.

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Annotated, Any, Final, Required, TypeAlias, TypeVar, Unpack
from uuid import UUID

from pydantic import AfterValidator, Field

from pandaprobe_otel.api.calls import AsyncDriver, Connection, Pause, Steps, call
from pandaprobe_otel.api.endpoint import Rate, Repeat
from pandaprobe_otel.api.fields import MAX_PAGE, Arguments, EvaluationStatus, Id, Known, Moment, Paging, Rows, Share
from pandaprobe_otel.api.models import EvalRun, Page, Score, SessionScore, TraceScore
from pandaprobe_otel.api.operation import D, Resource, endpoint, every, operation, request
from pandaprobe_otel.api.results import RunResult
from pandaprobe_otel.enums import TraceStatus
from pandaprobe_otel.errors import RunFailed, WaitTimeout

MetricNames = Annotated[list[str], Field(min_length=1)]
Weights = dict[str, float]
T = TypeVar("T")


def _each_once(ids: list[T]) -> list[T]:
    return [*dict.fromkeys(ids)]


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

    trace_ids: Required[Annotated[list[Id], Field(min_length=1), AfterValidator(_each_once)]]
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

    session_ids: Required[Annotated[list[str], Field(min_length=1), AfterValidator(_each_once)]]
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


class RunOperations(Resource[D]):
    """Common operations of both kinds of runs."""

    @endpoint("GET", "/evaluations/{kind}-runs")
    def list(self, **query: Unpack[RunListQuery]) -> Page[EvalRun]:
        """Return one page of runs, latest first."""

    @every(list)
    def iter(self, *, page_size: int = MAX_PAGE, **filters: Unpack[RunListFilters]) -> EvalRun:
        """Iterate over all matching runs, lazily: one request for each `page_size` (1 to 200) rows."""

    @endpoint("GET", "/evaluations/{kind}-runs/{run_id}")
    def get(self, run_id: UUID | str) -> EvalRun:
        """Return the state of a run."""

    @endpoint("DELETE", "/evaluations/{kind}-runs/{run_id}")
    def delete(self, run_id: UUID | str, **how: Unpack[RunDeletion]) -> None:
        """Delete a run; with `delete_scores`, delete its scores too."""

    @endpoint("POST", "/evaluations/{kind}-runs/{run_id}/retry", repeat=Repeat.NEVER, rate=Rate.RUNS)
    def retry(self, run_id: UUID | str) -> EvalRun:
        """Start a run of the failed pairs of another run. Raises InvalidRequest if none failed."""


class TraceRuns(RunOperations[D]):
    """Runs over traces."""

    kind = "trace"

    @endpoint("POST", "/evaluations/trace-runs", repeat=Repeat.NEVER, rate=Rate.RUNS)
    def create(self, **run: Unpack[TraceRunArguments]) -> EvalRun:
        """Evaluate the traces that match `filters`; without filters, all of the project."""

    @endpoint("POST", "/evaluations/trace-runs/batch", repeat=Repeat.NEVER, rate=Rate.RUNS)
    def create_batch(self, **run: Unpack[TraceBatchArguments]) -> EvalRun:
        """Evaluate the given traces. Ids that do not exist count as evaluated, but get no score (measured)."""

    @endpoint("GET", "/evaluations/trace-runs/{run_id}/scores")
    def scores(self, run_id: UUID | str) -> Rows[TraceScore]:
        """Return the scores of a run; empty for a run that does not exist (measured on server 0.5.0)."""


class SessionRuns(RunOperations[D]):
    """Runs over sessions."""

    kind = "session"

    @endpoint("POST", "/evaluations/session-runs", repeat=Repeat.NEVER, rate=Rate.RUNS)
    def create(self, **run: Unpack[SessionRunArguments]) -> EvalRun:
        """Evaluate the sessions that match `filters`; without filters, all of the project."""

    @endpoint("POST", "/evaluations/session-runs/batch", repeat=Repeat.NEVER, rate=Rate.RUNS)
    def create_batch(self, **run: Unpack[SessionBatchArguments]) -> EvalRun:
        """Evaluate the given sessions. Ids that do not exist count as evaluated, but get no score (measured)."""

    @endpoint("GET", "/evaluations/session-runs/{run_id}/scores")
    def scores(self, run_id: UUID | str) -> Rows[SessionScore]:
        """Return the scores of a run; empty for a run that does not exist (measured on server 0.5.0)."""


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
    run_id: object,
    timeout_s: float,
    progress: Callable[[EvalRun], None],
    *,
    kind: str = "trace",
) -> Steps[EvalRun]:
    """Request a run until it is COMPLETED, passing each state to `progress`.

    Raises:
        RunFailed: the run is FAILED and stayed so for 25 s.
        WaitTimeout: `timeout_s` seconds have passed; the run continues.
    """
    get = RunOperations.get.endpoint.of(kind)
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


class Run(Resource[D]):
    """Started run. `state` is the server's latest description of it."""

    def __init__(self, connection: Connection, driver: D, state: EvalRun) -> None:
        super().__init__(connection, driver)
        self.state = state
        self.kind = str(state.target_type).lower()

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
            self.state = yield from wait_for_run(self._connection, self.id, timeout, show, kind=self.kind)
        return (yield from self._result())

    @operation
    def refresh(self) -> Steps[EvalRun]:
        """Request the current state of the run."""
        self.state = yield from self._call(RunOperations.get)
        return self.state

    @operation
    def result(self) -> Steps[RunResult]:
        """Return the result so far, even if the run is not completed."""
        self.state = yield from self._call(RunOperations.get)
        return (yield from self._result())

    @operation
    def retry_failed(self) -> Steps[Run[D]]:
        """Start a run of the pairs of target and metric that failed here. Raises InvalidRequest if none failed."""
        return Run(self._connection, self._driver, (yield from self._call(RunOperations.retry)))

    @operation
    def delete(self, **how: Unpack[RunDeletion]) -> Steps[None]:
        """Delete the run; with `delete_scores`, delete its scores too."""
        return self._call(RunOperations.delete, how)

    def _call(self, what: request[Any, T], query: RunDeletion | None = None) -> Steps[T]:
        return call(self._connection, what.endpoint.of(self.kind), path={"run_id": self.id}, query=query)

    def _result(self) -> Steps[RunResult]:
        scores: Sequence[Score]
        if self.kind == SessionRuns.kind:
            scores = yield from self._call(SessionRuns.scores)
        else:
            scores = yield from self._call(TraceRuns.scores)
        return RunResult(run=self.state, scores=tuple(scores))

    def __repr__(self) -> str:
        return f"<Run {self.id} {self.state.status}>"


AsyncRun: TypeAlias = Run[AsyncDriver]
"""Run that was started with `AsyncClient`."""
