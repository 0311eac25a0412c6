"""An app in simulated time: real spans, the real assembler, encoder and dispatcher, in a simulated world."""

from __future__ import annotations

from collections.abc import Mapping

from opentelemetry.sdk.trace import Span
from opentelemetry.trace import SpanContext

from pandaprobe_otel.delivery import Ledger
from pandaprobe_otel.ids import span_uuid, trace_uuid
from pandaprobe_otel.mapping import MappingOptions
from pandaprobe_otel.tracing.assembler import Assembler
from pandaprobe_otel.tracing.encoder import PartEncoder
from pandaprobe_otel.tracing.span_filter import SpanFilter
from pandaprobe_otel.tracing.timing import Timing
from simulated_world import Process, Server, World
from spans import CHAT, SpanMaker

POLL_S = 0.1


class SimulatedApp:
    """Starts and ends spans; what is ready goes out ten times a second."""

    def __init__(self, world: World, server: Server, *, name: str = "ours", project: str = "shop") -> None:
        self.process = Process(world, server, name=name, project=project)
        self._world = world
        self._maker = SpanMaker()
        self.assembler = Assembler(timing=Timing(), counts_starts=True, max_bytes=32 << 20)
        self._encoder = PartEncoder(
            span_filter=SpanFilter("all"), options=MappingOptions(), ledger=Ledger(), sample_rate=1.0
        )
        self.most_held = 0
        """Most ended spans that waited for the rest of their traces."""
        world.after(POLL_S, self._poll)

    def start(self, name: str, parent: Span | None = None, attributes: Mapping[str, str] = CHAT) -> Span:
        """Start a span."""
        span = self._maker.start(name, parent, attributes)
        self.assembler.started(span, self.process.clock())
        return span

    def start_below(self, name: str, caller: SpanContext) -> Span:
        """Start a span whose parent is in another process."""
        span = self._maker.start_remote(name, caller.trace_id, caller.span_id)
        self.assembler.started(span, self.process.clock())
        return span

    def end(self, span: Span) -> None:
        """End a span."""
        self.assembler.ended(self._maker.end(span), self.process.clock())
        self._maker.exporter.clear()

    def close(self) -> None:
        """The process ends in order: everything that it holds is handed over."""
        for part in self.assembler.close(self.process.clock()):
            for parcel in self._encoder.encode(part):
                self.process.put(parcel)

    def _poll(self) -> None:
        self.most_held = max(self.most_held, self.assembler.ended_spans)
        for part in self.assembler.due(self.process.clock()):
            for parcel in self._encoder.encode(part):
                self.process.put(parcel)
        self._world.after(POLL_S, self._poll)


def stored_id(span: Span) -> str:
    """The id under which the server has a span."""
    assert span.context is not None
    return str(span_uuid(span.context.trace_id, span.context.span_id))


def trace_id_of(span: Span) -> str:
    """The id under which the server has the span's trace."""
    assert span.context is not None
    return trace_uuid(span.context.trace_id)
