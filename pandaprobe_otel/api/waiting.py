"""Wait for a trace to become visible on the server."""

from __future__ import annotations

from typing import Final

from pandaprobe_otel.api.call_steps import Connection, Pause, Steps, call
from pandaprobe_otel.api.endpoint import Endpoint
from pandaprobe_otel.api.models import Trace
from pandaprobe_otel.errors import NotFound, WaitTimeout

GET_TRACE: Final = Endpoint(method="GET", path="/traces/{trace_id}", answer=Trace)

# Small traces are visible after 0.15 to 0.5 s (measured). 2 s uses a sixth of the 200 requests a minute and path.
_FIRST_PAUSE_S: Final = 0.15
_LONGEST_PAUSE_S: Final = 2.0


def wait_for_trace(connection: Connection, trace_id: str, timeout_s: float) -> Steps[Trace]:
    """Request a trace until it is visible.

    Raises:
        WaitTimeout: the trace did not appear within `timeout_s` seconds.
    """
    deadline = connection.clock() + timeout_s
    pause_s = _FIRST_PAUSE_S
    while True:
        try:
            return (yield from call(connection.until(deadline), GET_TRACE, path={"trace_id": trace_id}))
        except NotFound:
            remaining = deadline - connection.clock()
            if remaining <= 0:
                raise WaitTimeout(
                    f"Trace {trace_id} is not visible after {timeout_s:g} s. Check that it was sent to this project"
                    " with this key. The server answers 202 before it stores a trace, and drops one it cannot store."
                ) from None
            yield Pause(min(pause_s, remaining))
            pause_s = min(pause_s * 1.5, _LONGEST_PAUSE_S)
