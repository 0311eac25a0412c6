"""A started evaluation run: wait for it, read its scores, retry failed pairs."""

from __future__ import annotations

from typing import Any, Generic, Self, TypeVar
from uuid import UUID

from pandaprobe_otel.api.call_steps import Connection, Steps, call
from pandaprobe_otel.api.drivers import AsyncDriver, SyncDriver
from pandaprobe_otel.api.enums import TargetType
from pandaprobe_otel.api.models import EvalRun
from pandaprobe_otel.api.operation import AsyncResource, Resource, SyncResource, operation
from pandaprobe_otel.api.resources.runs import SESSION_RUNS, TRACE_RUNS, RunEndpoints
from pandaprobe_otel.api.runs.progress import Progress, shown
from pandaprobe_otel.api.runs.result import RunResult
from pandaprobe_otel.api.runs.waiting import wait_for_run

R = TypeVar("R", bound=Resource)


class StartedRun(Resource, Generic[R]):
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
        return SESSION_RUNS if self.state.target_type == TargetType.SESSION else TRACE_RUNS

    def _another(self, state: EvalRun) -> R:
        raise NotImplementedError

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
