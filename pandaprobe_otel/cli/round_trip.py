"""Round trip of a test trace, which is sent as an app would send it and then read back."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final

from pandaprobe_otel.cli.exit_codes import ExitCode

if TYPE_CHECKING:
    from pandaprobe_otel.config.resolve import Config
    from pandaprobe_otel.transport.http import HttpTransport

_TIMEOUT_S: Final = 20.0
_NAME: Final = "pandaprobe-otel doctor"
_DATE_LAGS_S: Final = 5.0
"""Longest time by which a Date header may lag behind the server's clock: it has whole seconds, and uvicorn renews it
once a second, or later if it is busy (seen: 2.1 s)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundTrip:
    """Result of sending a trace and reading it back: the duration, and the lead of this clock.

    `clock_ahead_s` is the smallest lead that the server's Date headers allow; 0 if the clocks may agree, None without
    headers.
    """

    arrived: bool
    message: str
    trace_id: str | None = None
    seconds: float | None = None
    clock_ahead_s: float | None = None

    @property
    def exit_code(self) -> ExitCode:
        """Exit code of the command."""
        return ExitCode.OK if self.arrived else ExitCode.API


def round_trip(config: Config) -> RoundTrip:
    """Send one trace (billed; may create the project) and wait until it can be read."""
    from opentelemetry.sdk.trace import TracerProvider

    from pandaprobe_otel.mapping.ids import trace_uuid
    from pandaprobe_otel.pipeline.export_pipeline import ExportPipeline
    from pandaprobe_otel.sdk.processor import PandaProbeSpanProcessor

    is_empty = _is_empty(config)
    pipeline = ExportPipeline(config, counts_starts=True)
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(PandaProbeSpanProcessor(pipeline=pipeline))
    begun = time.monotonic()
    with provider.get_tracer("pandaprobe_otel").start_as_current_span(
        _NAME, attributes={"gen_ai.operation.name": "invoke_agent"}
    ) as span:
        trace_id = trace_uuid(span.get_span_context().trace_id)
    delivered = pipeline.flush(_TIMEOUT_S)
    status = pipeline.status()
    provider.shutdown()
    if not delivered or not status.traces_delivered:
        why = status.last_error or "no answer came in time"
        return RoundTrip(arrived=False, message=f"the trace was not delivered: {why}", trace_id=trace_id)
    trip = _read_back(config, trace_id, begun)
    hint = f"; project {config.project_name!r} had no traces before: is this its name?" if is_empty else ""
    return replace(trip, message=f"{trip.message}{hint}")


def _is_empty(config: Config) -> bool:
    """Return whether the project has no traces, as a new one: a misspelt name makes a new project."""
    from pandaprobe_otel.transport.outcome import Answer, Request, json_object

    transport = _transport(config)
    try:
        answer = transport.send(Request(method="GET", path="/traces?limit=1", timeout_s=5.0))
    finally:
        transport.close()
    return isinstance(answer, Answer) and answer.status == 200 and json_object(answer.body).get("total") == 0


def _transport(config: Config) -> HttpTransport:
    from pandaprobe_otel.transport.http import HttpTransport
    from pandaprobe_otel.transport.outcome import api_key_headers

    return HttpTransport(config.endpoint, api_key_headers(config.fixed_key or "", config.project_name))


def _read_back(config: Config, trace_id: str, begun: float) -> RoundTrip:
    from pandaprobe_otel.transport.outcome import Answer, Request

    transport = _transport(config)
    try:
        ahead: float | None = None
        clock = _ClockDifference()
        while time.monotonic() < begun + _TIMEOUT_S:
            sent_at = time.time()
            answer = transport.send(Request(method="GET", path=f"/traces/{trace_id}", timeout_s=5.0))
            if isinstance(answer, Answer):
                ahead = clock.ahead_s(answer.headers.get("date"), sent_at, time.time())
                if answer.status == 200:
                    seconds = round(time.monotonic() - begun, 2)
                    message = f"trace {trace_id} was there after {seconds} s"
                    return RoundTrip(
                        arrived=True, message=message, trace_id=trace_id, seconds=seconds, clock_ahead_s=ahead
                    )
            time.sleep(0.35)  # The server allows 200 requests a minute on this path.
    finally:
        transport.close()
    message = f"trace {trace_id} was accepted, but cannot be read after {_TIMEOUT_S:.0f} s"
    return RoundTrip(arrived=False, message=message, trace_id=trace_id, clock_ahead_s=ahead)


class _ClockDifference:
    """Bounds on the lead of this clock over the server's, narrowed by each answer."""

    def __init__(self) -> None:
        self._least_s, self._most_s = -math.inf, math.inf

    def ahead_s(self, date: str | None, sent_at: float, received_at: float) -> float | None:
        """Return the smallest lead that all Date headers so far allow."""
        try:
            server = parsedate_to_datetime(date or "").timestamp()
        except (TypeError, ValueError):
            return None
        self._least_s = max(self._least_s, sent_at - server - _DATE_LAGS_S)
        self._most_s = min(self._most_s, received_at - server)
        return round(max(self._least_s, 0.0) + min(self._most_s, 0.0), 1)
