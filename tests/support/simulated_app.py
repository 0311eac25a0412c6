"""An app in simulated time: real spans, the real assembler, encoder and policy, in a simulated world."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from opentelemetry.sdk.trace import Span

from pandaprobe_otel.assembly.assembler import Assembler, Timing, TraceSegment
from pandaprobe_otel.assembly.encoder import SegmentEncoder, SpanFilter
from pandaprobe_otel.mapping import MappingOptions
from pandaprobe_otel.mapping.ids import span_uuid, trace_uuid
from pandaprobe_otel.mapping.sdk_span import fields_of
from simulated_world import Process
from spans import CHAT, SpanMaker

POLL_S = 0.1


class SimulatedApp:
    """App that starts and ends spans; segments that are due are sent ten times a second while any span is open."""

    def __init__(
        self,
        process: Process,
        *,
        maker: SpanMaker | None = None,
        is_forked: bool = False,
        longest_poll_s: float = POLL_S,
        timing: Timing | None = None,
    ) -> None:
        """`longest_poll_s`: upper bound of the interval between polls, which doubles while no span starts or ends."""
        self.process = process
        self._longest_poll_s = longest_poll_s
        self._poll_s = POLL_S
        self._next_poll = math.inf
        self._maker = maker or SpanMaker()
        self.assembler = Assembler(
            timing=timing or Timing(), counts_starts=True, max_bytes=32 << 20, is_forked=is_forked
        )
        self._encoder = SegmentEncoder(
            span_filter=SpanFilter("all"), options=MappingOptions(), ledger=process.ledger, sample_rate=1.0
        )
        self.most_held = 0
        """The highest number of ended spans that waited for the rest of their traces."""
        process.held = lambda: self.assembler.ended_spans

    def start(self, name: str, parent: Span | None = None, attributes: Mapping[str, str] = CHAT) -> Span:
        """Start a span."""
        return self._started(self._maker.start(name, parent, attributes))

    def start_below(self, name: str, caller: Span) -> Span:
        """Start a span whose parent is in another process."""
        assert caller.context is not None
        return self._started(self._maker.start_remote(name, caller.context.trace_id, caller.context.span_id))

    def end(self, span: Span) -> None:
        """End a span."""
        ended = self._maker.end(span)
        self._maker.exporter.clear()
        self.process.ledger.ended(1)
        self.assembler.ended(fields_of(ended), self.process.clock())
        self._draft()
        self._look_soon()

    def close(self) -> None:
        """Shut the app down: hand over all spans that it holds."""
        self._hand_over(self.assembler.close(self.process.clock()))

    def _started(self, span: Span) -> Span:
        self.assembler.started(span, self.process.clock())
        self._look_soon()
        return span

    def _draft(self) -> None:
        if (drafts := self.process.drafts) is not None:
            drafts.take(self.assembler.drafts(self.assembler.changed, shows_all=False))

    def _look_soon(self) -> None:
        self._poll_s = POLL_S
        self._look_at(self.process.world.now + POLL_S)

    def _look_at(self, time: float) -> None:
        if time < self._next_poll:
            self._next_poll = time
            self.process.world.at(time, self._poll)

    def _poll(self) -> None:
        if not self.process.is_alive or self.process.world.now < self._next_poll:
            return
        self._next_poll = math.inf
        self.most_held = max(self.most_held, self.assembler.ended_spans)
        self._hand_over(self.assembler.due(self.process.clock()))
        if len(self.assembler):
            self._look_at(self.process.world.now + self._poll_s)
            self._poll_s = min(self._poll_s * 2, self._longest_poll_s)

    def _hand_over(self, segments: Iterable[TraceSegment]) -> None:
        for segment in segments:
            drafts, was_running = self.process.drafts, segment.memory.running
            requests = self._encoder.encode(segment)
            replaced = () if drafts is None else drafts.replaced(segment, was_running=was_running)
            self.process.take(*requests, drafts=replaced)
        self._draft()


def stored_id(span: Span) -> str:
    """Return the id under which the server has a span."""
    assert span.context is not None
    return str(span_uuid(span.context.trace_id, span.context.span_id))


def trace_id_of(span: Span) -> str:
    """Return the id under which the server has the span's trace."""
    assert span.context is not None
    return trace_uuid(span.context.trace_id)
