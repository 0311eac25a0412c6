"""Round trip of a test trace, which is sent as an app would send it and then read back."""

from __future__ import annotations

import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final

from pandaprobe_otel.cli.exit_codes import ExitCode

if TYPE_CHECKING:
    from pandaprobe_otel.config.resolve import Config

_TIMEOUT_S: Final = 20.0
_NAME: Final = "pandaprobe-otel doctor"


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundTrip:
    """Result of sending a trace and reading it back: the duration, and the lead of this clock.

    `clock_ahead_s` is exact to about a second, the unit of the server's Date header. None: the header was missing.
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
    return _read_back(config, trace_id, begun)


def _read_back(config: Config, trace_id: str, begun: float) -> RoundTrip:
    from pandaprobe_otel.transport.headers import api_key_headers
    from pandaprobe_otel.transport.http import HttpTransport
    from pandaprobe_otel.transport.request_outcome import Answer, Request

    transport = HttpTransport(config.endpoint, api_key_headers(config.fixed_key or "", config.project_name))
    try:
        ahead: float | None = None
        while time.monotonic() < begun + _TIMEOUT_S:
            answer = transport.send(Request(method="GET", path=f"/traces/{trace_id}", timeout_s=5.0))
            if isinstance(answer, Answer):
                ahead = _clock_ahead(answer.headers.get("date"))
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


def _clock_ahead(date: str | None) -> float | None:
    if date is None:
        return None
    try:
        return round(time.time() - parsedate_to_datetime(date).timestamp(), 1)
    except (TypeError, ValueError):
        return None
