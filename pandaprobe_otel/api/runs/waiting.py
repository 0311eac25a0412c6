"""Wait for an evaluation run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from pandaprobe_otel.api.call_steps import Connection, Pause, Steps, call
from pandaprobe_otel.api.endpoint import Endpoint
from pandaprobe_otel.api.enums import EvaluationStatus
from pandaprobe_otel.api.models import EvalRun
from pandaprobe_otel.errors import RunFailed, WaitTimeout

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
        if run.status == EvaluationStatus.COMPLETED:
            return run
        failed_at = (failed_at or now) if run.status == EvaluationStatus.FAILED else None
        if failed_at is not None and (now - failed_at >= _FAILED_FOR_GOOD_S or now >= deadline):
            raise RunFailed(f"Evaluation run {run_id} failed: {run.error_message or 'the server gives no reason'}.")
        if now >= deadline:
            raise WaitTimeout(
                f"Evaluation run {run_id} is {run.status} after {timeout_s:g} s, with {run.evaluated_count} of"
                f" {run.total_targets} targets evaluated. It continues: wait again, or check it later."
            )
        yield Pause(min(pause_s, deadline - now))
        pause_s = min(pause_s * 1.5, _LONGEST_PAUSE_S)
