"""An app in this process that traces to an endpoint through the whole pipeline."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import Tracer

from pandaprobe_otel.assembly.assembler import Timing
from pandaprobe_otel.config.resolve import Config
from pandaprobe_otel.delivery.budget import LeasedBucket
from pandaprobe_otel.pipeline.export_pipeline import ExportPipeline
from pandaprobe_otel.reporting.delivery_status import Status
from pandaprobe_otel.sdk.processor import PandaProbeSpanProcessor
from pandaprobe_otel.transport.outcome import Outcome, Request, Transport, api_key_headers
from pandaprobe_otel.transport.socket_transport import delivery_transport
from spans import CHAT
from waiting import PATIENCE_S


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request with its outcome, and how long it took."""

    request: Request
    outcome: Outcome
    seconds: float


@dataclass(slots=True)
class WatchedTransport:
    """The real transport, with a shorter timeout and a record of its requests."""

    inner: Transport
    timeout_s: float
    exchanges: list[Exchange] = field(default_factory=list[Exchange])

    def send(self, request: Request) -> Outcome:
        """Send a request, with at most this transport's timeout."""
        begun = time.monotonic()
        outcome = self.inner.send(replace(request, timeout_s=min(request.timeout_s, self.timeout_s)))
        self.exchanges.append(Exchange(request, outcome, time.monotonic() - begun))
        return outcome

    def close(self) -> None:
        """Close the connections."""
        self.inner.close()

    def reset_after_fork(self) -> None:
        """Forget the connections."""
        self.inner.reset_after_fork()


@dataclass(frozen=True, slots=True, kw_only=True)
class TracedApp:
    """An app, with the operations that tests need."""

    tracer: Tracer
    pipeline: ExportPipeline
    provider: TracerProvider
    transport: WatchedTransport

    def trace(self, name: str, **attributes: Any) -> None:
        """Make a trace of one span."""
        with self.tracer.start_as_current_span(name, attributes={**CHAT, **attributes}):
            pass

    def flush(self, timeout_s: float = PATIENCE_S) -> bool:
        """Deliver complete traces."""
        return self.pipeline.flush(timeout_s)

    def status(self) -> Status:
        """Return the counts."""
        return self.pipeline.status()

    @property
    def is_balanced(self) -> bool:
        """Return whether the counts of spans add up."""
        status = self.status()
        dropped = sum(status.spans_dropped.values())
        return status.spans_ended == status.spans_delivered + dropped + status.spans_pending


@contextmanager
def traced_app(
    endpoint: str,
    *,
    request_timeout_s: float = 30.0,
    shutdown_timeout_s: float = 1.0,
    bucket: Callable[[], LeasedBucket] | None = None,
    **settings: Any,
) -> Iterator[TracedApp]:
    """Yield an app with its own provider, shut down at the end."""
    given = {"api_key": "sk_pp_1", "project_name": "shop", "shutdown_timeout_s": shutdown_timeout_s, **settings}
    config = Config.resolve({**given, "endpoint": endpoint}, environ={})
    transport = WatchedTransport(
        delivery_transport(config.endpoint, api_key_headers("sk_pp_1", "shop")), request_timeout_s
    )
    pipeline = ExportPipeline(
        config, counts_starts=True, transport=transport, timing=Timing(settle_s=0.05), bucket=bucket
    )
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(PandaProbeSpanProcessor(pipeline=pipeline))
    try:
        yield TracedApp(tracer=provider.get_tracer("test"), pipeline=pipeline, provider=provider, transport=transport)
    finally:
        provider.shutdown()
