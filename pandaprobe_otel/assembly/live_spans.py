"""Sender of running spans to a local server, whose pages then show a trace before it is delivered.

The worker calls this between its checks, and another thread waits for the server; it costs the app's threads nothing.
A span is sent at its begin only if it is certain to be kept: local roots, and spans whose attributes show GenAI work.
The other spans are sent at their end. `capture`, `mask` and the switches of emitters apply to each event.
"""

from __future__ import annotations

import dataclasses
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from pandaprobe_otel.assembly.live_events import LiveEvent, LiveQueue
from pandaprobe_otel.assembly.remote_parents import view_of, views_of
from pandaprobe_otel.assembly.span_filter import SpanFilter
from pandaprobe_otel.assembly.trace_buffer import Memory
from pandaprobe_otel.delivery.sampling import randomness
from pandaprobe_otel.mapping import MappingOptions, SpanView, map_views
from pandaprobe_otel.mapping.ids import span_uuid, trace_uuid
from pandaprobe_otel.mapping.kinds import is_genai
from pandaprobe_otel.mapping.sdk_span import EndedSpan
from pandaprobe_otel.process.guard import failed
from pandaprobe_otel.transport.local_server import abilities_in
from pandaprobe_otel.transport.request_outcome import Answer, Request, Transport, api_key_headers
from pandaprobe_otel.transport.socket_transport import delivery_transport

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

    from pandaprobe_otel.assembly.journal import SpanEvent
    from pandaprobe_otel.config.resolve import Config

EVERY_S: Final = 0.2
MOST_TRACES: Final = 200
MOST_SPANS: Final = 2_000
"""Bound on the open or held spans of one trace."""
_PREVIEW_BYTES: Final = 4_096
_FIRST_BREAK_S: Final = 30.0
_LONGEST_BREAK_S: Final = 600.0
_FIELDS: Final = (
    "span_id", "parent_span_id", "name", "kind", "status", "error", "started_at", "ended_at", "completion_start_time",
    "model", "token_usage", "cost", "input", "output",
)  # fmt: skip


@dataclasses.dataclass(slots=True, eq=False)
class _Trace:
    memory: Memory = dataclasses.field(default_factory=Memory)
    open: dict[int, ReadableSpan] = dataclasses.field(default_factory=dict[int, "ReadableSpan"])
    views: dict[int, SpanView] = dataclasses.field(default_factory=dict[int, SpanView])
    """Open spans as they were when first checked."""
    ended: list[EndedSpan] = dataclasses.field(default_factory=list[EndedSpan])
    """Ended spans that are not sent yet."""
    is_wanted: bool = False


class LiveSpans:
    """Sender of live events to one server. Only the worker calls `send` and `take`, under its lock."""

    def __init__(
        self,
        *,
        transport: Callable[[], Transport],
        span_filter: SpanFilter,
        selects_all: bool,
        options: MappingOptions,
        sample_rate: float,
        timeout_s: float,
        monotonic: Callable[[], float],
    ) -> None:
        self._timeout_s = timeout_s
        self._make_transport = transport
        self._transport: Transport | None = None
        self._sending = threading.Lock()
        self._is_closed = False
        self._filter = span_filter
        self._selects_all = selects_all
        self._options = dataclasses.replace(options, max_field_bytes=_PREVIEW_BYTES, price=None)
        self._least_randomness = 1.0 - sample_rate
        self._monotonic = monotonic
        self._start_empty()

    def _start_empty(self) -> None:
        self._traces: OrderedDict[int, _Trace] = OrderedDict()
        self._queue = LiveQueue()
        self._is_able: bool | None = None
        """True if the server accepts live spans; None before it was asked."""
        self._off_until = 0.0
        self._break_s = _FIRST_BREAK_S
        self._waits_since: float | None = None
        self._has_failed = False
        self._thread: threading.Thread | None = None

    @property
    def is_off(self) -> bool:
        """True if the server does not accept live spans, or has failed a short while ago."""
        return self.is_refused or self._monotonic() < self._off_until

    @property
    def is_refused(self) -> bool:
        """True if the server does not accept live spans."""
        return self._is_able is False

    def take(self, events: Sequence[SpanEvent]) -> None:
        """Take starts and ends of spans, in order."""
        if self.is_off:
            return
        for span, _ in events:
            context = span[0] if isinstance(span, tuple) else span.context
            if context is None or randomness(context.trace_id) < self._least_randomness:
                continue
            trace = self._trace(context.trace_id)
            if trace is None:
                continue
            if isinstance(span, tuple):
                trace.open.pop(context.span_id, None)
                trace.views.pop(context.span_id, None)
                trace.ended.append(span)
            else:
                trace.open[context.span_id] = span
        if self._waits_since is None and self._traces:
            self._waits_since = self._monotonic()

    def delivered(self, trace_id: int) -> None:
        """Drop the waiting events of a trace, because the server gets the trace itself."""
        self._traces.pop(trace_id, None)
        self._queue.forget({trace_uuid(trace_id)})

    def send(self) -> None:
        """Send the events that have waited long enough, one request at a time; the worker takes spans meanwhile."""
        if self._thread is not None and self._thread.is_alive():
            return
        if (errand := self.errand()) is not None:
            self._thread = threading.Thread(target=errand, name="pandaprobe-live", daemon=True)
            try:
                self._thread.start()
            except RuntimeError:
                self._thread = None  # during interpreter shutdown

    def errand(self) -> Callable[[], None] | None:
        """Return a function that sends the events that have waited long enough; None if there are none. Neither raises.

        Do not call `errand` again before the returned function has ended.
        """
        try:
            return self._errand()
        except Exception as error:  # noqa: BLE001 - protects the worker: only the live view is lost
            failed("the live view", error)
            self._pause()
            return None

    def close(self) -> None:
        """Send nothing more. Close the connection after the current request has its answer or times out."""
        self._is_closed = True
        if self._transport is not None and self._sending.acquire(timeout=self._timeout_s):
            self._transport.close()
            self._sending.release()

    def reset_after_fork(self) -> None:
        """Start empty in a forked child, whose open spans are copies of the parent's."""
        if self._transport is not None:
            self._transport.reset_after_fork()
        self._sending = threading.Lock()
        self._start_empty()

    def _trace(self, trace_id: int) -> _Trace | None:
        trace = self._traces.get(trace_id)
        if trace is None:
            trace = self._traces[trace_id] = _Trace()
            if len(self._traces) > MOST_TRACES:
                lost, _ = self._traces.popitem(last=False)
                self._queue.mark([trace_uuid(lost)])
        if len(trace.open) + len(trace.ended) >= MOST_SPANS:
            self._queue.mark([trace_uuid(trace_id)])
            return None
        return trace

    # -- sending ------------------------------------------------------------------------------------------------------

    def _errand(self) -> Callable[[], None] | None:
        if self._has_failed:
            self._has_failed = False
            self._pause()
        if self._is_closed or self._waits_since is None or self.is_off:
            return None
        # The server is asked at once, since spans are kept for it until then.
        if self._is_able is not None and self._monotonic() - self._waits_since < EVERY_S:
            return None
        if self._transport is None:
            self._transport = self._make_transport()
        if self._is_able is None:
            return partial(self._ask, self._transport)
        for trace_id, trace in self._traces.items():
            self._add_events(trace_id, trace)
        body = self._queue.take()
        self._waits_since = self._monotonic() if len(self._queue) else None
        return partial(self._post, self._transport, body) if body != b"[]" else None

    def _ask(self, transport: Transport) -> None:
        answer = self._sent(
            transport, Request(method="GET", path="/health", timeout_s=self._timeout_s, most_read=4_096)
        )
        if not isinstance(answer, Answer):
            self._has_failed = True  # the server does not run yet
            return
        abilities = abilities_in(answer)
        self._is_able = abilities is not None and abilities.takes_live_spans

    def _sent(self, transport: Transport, request: Request) -> Answer | None:
        with self._sending:
            answer = None if self._is_closed else transport.send(request)
        if self._is_closed:  # `close` may have left because this answer was late
            transport.close()
        return answer if isinstance(answer, Answer) else None

    def _post(self, transport: Transport, body: bytes) -> None:
        request = Request(method="POST", path="/local/live", body=body, timeout_s=self._timeout_s, most_read=256)
        answer = self._sent(transport, request)
        if isinstance(answer, Answer) and answer.status < 300:
            self._break_s = _FIRST_BREAK_S
        else:
            self._has_failed = True

    def _pause(self) -> None:
        """Send nothing for a while, longer each time. The traces themselves will contain everything omitted now."""
        self._off_until = self._monotonic() + self._break_s
        self._break_s = min(self._break_s * 2, _LONGEST_BREAK_S)
        self._queue.mark(map(trace_uuid, self._traces))
        self._queue.lose()
        self._traces.clear()
        self._waits_since = None

    def _add_events(self, trace_id: int, trace: _Trace) -> None:
        new = {span_id: view_of(span) for span_id, span in trace.open.items() if span_id not in trace.views}
        ended, views = trace.ended, views_of(trace.ended)
        trace.is_wanted = trace.is_wanted or self._selects_all or any(map(is_genai, (*new.values(), *views)))
        if not trace.is_wanted:
            return  # read again at the next check, because attributes may still be set
        trace.views.update(new)
        trace.ended = []
        kept = self._filter.keep(ended, views, [*trace.views.values()], trace.memory)
        begun = [_below(view, trace.memory.parents or {}) for view in new.values() if self._filter.keeps_for_sure(view)]
        ends = {span_uuid(view.trace_id, view.span_id) for view in kept}
        for span in self._mapped([*kept, *begun]):
            self._queue.add(LiveEvent.of_span("e" if span["span_id"] in ends else "b", trace_uuid(trace_id), span))

    def _mapped(self, views: Sequence[SpanView]) -> list[Mapping[str, Any]]:
        if not views:
            return []
        bodies = map_views(views, whole=False, options=self._options).spans
        return [{name: body[name] for name in _FIELDS if body.get(name) is not None} for body in bodies]


def _below(view: SpanView, parents: Mapping[int, int | None]) -> SpanView:
    """Return the view with the nearest kept ancestor as its parent."""
    parent, seen = view.parent_id, {view.span_id}
    while parent is not None and parent in parents and parent not in seen:
        seen.add(parent)
        parent = parents[parent]
    return view if parent == view.parent_id else dataclasses.replace(view, parent_id=parent)


def live_spans(
    config: Config, options: MappingOptions, *, timeout_s: float, monotonic: Callable[[], float]
) -> LiveSpans:
    """Return the sender of live events for these settings, which must allow it (`Config.shows_running_spans`)."""
    assert not callable(config.spans)

    def transport() -> Transport:
        # A function that gives the key may block, and this is the worker: only senders call it.
        return delivery_transport(config.endpoint, api_key_headers(config.fixed_key or "", config.project_name))

    return LiveSpans(
        transport=transport,
        span_filter=SpanFilter(config.spans),
        selects_all=config.spans == "all",
        options=options,
        sample_rate=config.sample_rate,
        timeout_s=timeout_s,
        monotonic=monotonic,
    )
