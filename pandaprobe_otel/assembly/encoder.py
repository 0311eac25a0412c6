"""Requests made of segments: spans are selected and encoded, and the children of the others get new parents."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, Literal

import orjson

from pandaprobe_otel.assembly.assembler import Memory, Stage, TraceSegment
from pandaprobe_otel.assembly.remote_parents import joined, named_in
from pandaprobe_otel.config.parsers import is_project_name
from pandaprobe_otel.delivery.outbox import randomness
from pandaprobe_otel.delivery.parcel import Parcel, Step
from pandaprobe_otel.delivery.repair import SAMPLE_RATE_KEY
from pandaprobe_otel.mapping import MappingOptions, SpanView, map_views
from pandaprobe_otel.mapping.attributes import PROJECT
from pandaprobe_otel.mapping.evaluation_results import evaluation_scores
from pandaprobe_otel.mapping.ids import trace_uuid
from pandaprobe_otel.mapping.kinds import (
    REPEATED_SCOPES,
    is_dropped,
    is_genai,
    is_mcp_housekeeping,
    is_plumbing,
    is_served_tool,
    is_tool_without_mcp,
    is_work,
    kind_of,
)
from pandaprobe_otel.mapping.outgoing import MappedTrace
from pandaprobe_otel.mapping.sdk_span import EndedSpan, guarded, parent_of, read_ended, read_span, span_of
from pandaprobe_otel.process.guard import ask, failed

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

    from pandaprobe_otel.config.resolve import Config
    from pandaprobe_otel.delivery.ledger import Ledger


Selection = Literal["agent", "all"] | Callable[..., bool]

_MACHINERY: Final[Mapping[str, tuple[str, ...]]] = {
    "agent_framework": ("edge_group.process", "message.send"),
    "gcp.vertex.agent": ("execute_tool (merged)",),
}
"""Framework scopes, with name prefixes of their spans that only pass messages on or repeat another span."""


class SpanFilter:
    """Filter for the setting `spans`.

    "agent": a trace without a GenAI span is not sent. From other traces, three kinds of spans are left out: HTTP,
    database and messaging spans, spans of a framework's internal machinery, and spans of an MCP server in this process
    for calls that already have a span of the agent. The local root stays. A span also stays if spans of other services
    are, or may be, its children.
    "all": every span is sent. A function: it is called for each span.
    """

    def __init__(self, selection: Selection, *, is_marked: bool = False) -> None:
        """`is_marked`: a span processor tells other services which span replaces a span that is left out (`mark`)."""
        self._selection = selection
        self.needs_work = selection == "agent"
        """True if a trace needs a GenAI span, whether ended or open, to be sent."""
        self._is_marked = is_marked

    def shown(self, views: Sequence[SpanView], memory: Memory) -> tuple[SpanView, ...]:
        """Return the local roots among open spans, and those that will be kept whatever attributes they still get."""
        parents = memory.parents or {}
        return tuple(
            _reparent(view, parents)
            for view in views
            if view.parent_id is None or view.parent_is_remote or self._keeps_for_sure(view)
        )

    def _keeps_for_sure(self, view: SpanView) -> bool:
        if callable(self._selection) or is_dropped(view):
            return False
        is_mcp = any(key.startswith("mcp.") for key in view.attributes)  # may turn out to repeat a span of the agent
        return self._selection == "all" or (is_genai(view) and not is_mcp and not _is_noise(view))

    def keep(
        self,
        ended: Sequence[EndedSpan],
        views: Sequence[SpanView],
        open_views: Sequence[SpanView],
        memory: Memory,
    ) -> tuple[SpanView, ...]:
        """Return the ended spans to send, with corrected parents. `memory` keeps the parents of the spans that are left
        out.
        """
        parents = memory.parents or {}
        if self._selection == "agent" and not (open_views or parents):
            for view in views:
                if not is_work(view) or view.parent_is_remote:
                    break
                if view.scope_name in _MACHINERY or view.scope_name in REPEATED_SCOPES:
                    break
            else:
                return tuple(views)  # all are sent with their own parents, as in most traces
        here = {view.span_id: view for view in (*views, *open_views)}
        needed = (memory.sent_below or set()) | {named for span in ended if (named := named_in(span[0])) is not None}
        for view in open_views:
            if self._selection == "agent" and _is_noise(view) and not _is_root(view, here):
                parents.setdefault(view.span_id, view.parent_id)
        kept: list[SpanView] = []
        for span, view in zip(ended, views, strict=True):
            if self._wants(span, view, here, needed):
                parents.pop(view.span_id, None)
                kept.append(view)
            else:
                parents[view.span_id] = view.parent_id
        sent = tuple(_reparent(view, parents) for view in kept) if parents else tuple(kept)
        memory.parents = parents or None
        for view in sent:
            if view.parent_is_remote and view.parent_id is not None and view.parent_id not in here:
                memory.sent_below = {*(memory.sent_below or ()), view.parent_id}
        return sent

    def _wants(self, span: EndedSpan, view: SpanView, here: Mapping[int, SpanView], needed: Collection[int]) -> bool:
        if is_dropped(view):
            return False
        if self._selection == "agent" and is_work(view) and view.scope_name not in _MACHINERY:
            return True  # fast path: the checks below give the same result for most spans
        if callable(self._selection):
            return is_chosen(self._selection, span_of(span))
        if self._selection == "all":
            return True
        if _is_root(view, here):
            # If a server only lists its tools for an agent elsewhere, the trace does not need its root.
            return view.parent_id is None or not is_mcp_housekeeping(view)
        if not _is_noise(view) and not _is_repeated(view, here):
            return True
        may_be = self._is_marked and is_plumbing(view) and _may_be_a_parent_elsewhere(span, view, here)
        return may_be or view.span_id in needed


def is_chosen(choose: Callable[..., bool], span: ReadableSpan) -> bool:
    """Return whether the app's function selects the span; if it fails, the span must not be sent."""
    try:
        return bool(ask(choose, guarded(span)))
    except BaseException as error:  # noqa: BLE001 - the app's function ran in our thread; counted and logged
        failed("spans", error)
        return False


def _may_be_a_parent_elsewhere(span: EndedSpan, view: SpanView, here: Mapping[int, SpanView]) -> bool:
    """Return whether the span called another process without telling it which span replaces this one.

    That happens if an instrumentation sets a span's attributes after its start (Celery's, Kafka's). Databases make no
    spans in our traces, and requests within a model call go to the provider.
    """
    if view.otel_kind not in ("CLIENT", "PRODUCER") or named_in(span[0]) is not None:
        return False
    if any(key.startswith(("db.", "mcp.")) for key in view.attributes):
        return False
    above, seen = here.get(view.parent_id or 0), {view.span_id}
    while above is not None and above.span_id not in seen:
        if kind_of(above) in ("LLM", "EMBEDDING"):
            return False
        seen.add(above.span_id)
        above = here.get(above.parent_id or 0)
    return True


def _is_noise(view: SpanView) -> bool:
    """Return whether the span shows only transport or a framework's internal machinery, not an agent's work."""
    return is_plumbing(view) or view.name.startswith(_MACHINERY.get(view.scope_name, ()))


def _is_repeated(view: SpanView, here: Mapping[int, SpanView]) -> bool:
    parent = here.get(view.parent_id) if view.parent_id is not None and is_served_tool(view) else None
    return parent is not None and is_tool_without_mcp(parent)


def _is_root(view: SpanView, here: Mapping[int, SpanView]) -> bool:
    """Return whether the span is a local root: it has no parent, or its parent is in another process."""
    return view.parent_id is None or (view.parent_is_remote and view.parent_id not in here)


def _reparent(view: SpanView, parents: Mapping[int, int | None]) -> SpanView:
    parent = view.parent_id
    seen = {view.span_id}
    while parent is not None and parent in parents and parent not in seen:
        seen.add(parent)
        parent = parents[parent]
    return view if parent == view.parent_id else replace(view, parent_id=parent)


_events: Final = attrgetter("events")
_FINAL_FIELDS: Final = ("status", "output", "ended_at", "session_id", "user_id", "metadata", "tags")
"""Fields that the end of a running trace changes. The name and the start stay; PATCH does not accept a start."""
_FIELDS_OF_THE_ROOT: Final = ("name", "input", "environment", "release")
"""Further fields that a root changes if it arrives after its trace was sent."""
UNFINISHED_KEY: Final = "pandaprobe_otel.unfinished"
"""Metadata key for the names of spans that had not ended when their trace was sent."""
_MOST_UNFINISHED: Final = 20
_COPIED_BELOW: Final = 16 << 10


class SegmentEncoder:
    """Encoder of a segment as the requests that deliver it. Changes only the ledger and the trace's memory."""

    def __init__(self, *, span_filter: SpanFilter, options: MappingOptions, ledger: Ledger, sample_rate: float) -> None:
        self._filter = span_filter
        self._options = options
        self._ledger = ledger
        self._sample_rate = sample_rate

    def encode(self, segment: TraceSegment) -> list[Parcel]:
        """Return the requests of a segment in sending order; none if no span is wanted."""
        if self._sample_rate < 1.0 and randomness(segment.trace_id) < 1.0 - self._sample_rate:
            self._ledger.dropped("sampled_out", len(segment.ended))
            return []
        ended, memory = segment.ended, segment.memory
        views = [joined(read_ended(span), parent_of(span)) for span in ended]
        open_views = [joined(read_span(span), span.parent) for span in segment.open]
        if not memory.posted and self._filter.needs_work and not any(map(is_genai, views + open_views)):
            self._ledger.dropped("filtered", len(views))
            memory.leave_out({view.span_id: view.parent_id for view in views})
            return []
        sent = self._filter.keep(ended, views, open_views, memory)
        if len(sent) < len(views):
            self._ledger.dropped("filtered", len(views) - len(sent))
        if segment.shown:
            shown = self._filter.shown([view for view in open_views if view.span_id in segment.shown], memory)
            self._ledger.ended(len(shown))  # an open span is sent twice: now and at its end
            sent += shown
        if not sent:
            return []
        if memory.project is None:
            memory.project = _project_of(views, open_views)
        if memory.project and not is_project_name(memory.project):
            self._ledger.dropped("invalid_project", len(sent))
            return []
        requests = self._requests(segment, sent)
        may_have_scores = segment.logs or any(map(_events, sent))
        for body in evaluation_scores(sent, segment.logs, self._options) if may_have_scores else ():
            score, trace_id, name = orjson.dumps(body), body["trace_id"], body["name"]
            requests.append(Parcel(step=Step.SCORE, trace_id=trace_id, fields=score, name=name))
        for request in requests:
            request.project = memory.project
        return requests

    def _requests(self, segment: TraceSegment, views: Sequence[SpanView]) -> list[Parcel]:
        mapped = map_views(views, segment.logs, whole=segment.stage is Stage.WHOLE, options=self._options)
        spans = mapped.encoded_spans
        if mapped.merged:
            self._ledger.dropped("filtered", len(mapped.merged))
            segment.memory.leave_out(mapped.merged)
        memory, trace_id = segment.memory, mapped.trace.get("trace_id") or trace_uuid(segment.trace_id)
        is_error = mapped.trace.get("status") == "ERROR"
        name = str(mapped.trace.get("name", ""))
        memory.posted = True
        is_remote = memory.is_remote
        if memory.created and not is_remote:
            requests = [Parcel(step=Step.APPEND, trace_id=trace_id, spans=spans, name=name, is_error=is_error)]
            if segment.stage is Stage.LAST:
                final = self._final_fields(segment, mapped)
                memory.running = memory.lacks_root = False
                requests.append(Parcel(step=Step.FINISH, trace_id=trace_id, fields=final, name=name))
            return requests
        fields, metadata = dict(mapped.trace), dict[str, Any]()
        if self._sample_rate < 1.0:  # so that counts can be scaled back
            metadata[SAMPLE_RATE_KEY] = self._sample_rate
        if segment.stage is Stage.WHOLE and (segment.open or segment.abandoned):
            # These spans did not end in time; a span that ends later is appended.
            names = [*(span.name for span in segment.open), *segment.abandoned][:_MOST_UNFINISHED]
            metadata[UNFINISHED_KEY] = names
        if metadata:
            fields["metadata"] = {**(fields.get("metadata") or {}), **metadata}
        if segment.stage is Stage.FIRST and not is_remote:
            fields.update(status="RUNNING", ended_at=None)
            memory.running = True
        memory.created = not is_remote
        memory.lacks_root = not is_remote and not memory.has_root
        memory.had_input = fields.get("input") is not None
        memory.tags = tuple(fields.get("tags") or ())
        return [
            Parcel(
                step=Step.APPEND if is_remote else Step.CREATE,
                trace_id=trace_id,
                fields=mapped.encoded_trace if fields == mapped.trace else _exact(orjson.dumps(fields)),
                spans=spans,
                name=name,
                is_error=is_error,
                is_remote=is_remote,
                duration_s=_duration_s(views),
                sample_rate=self._sample_rate,
            )
        ]

    @staticmethod
    def _final_fields(segment: TraceSegment, mapped: MappedTrace) -> bytes:
        names = (*_FINAL_FIELDS, *_FIELDS_OF_THE_ROOT) if segment.memory.lacks_root else _FINAL_FIELDS
        fields: dict[str, Any] = {key: mapped.trace[key] for key in names if mapped.trace.get(key)}
        if segment.memory.tags and "tags" in fields:  # PATCH replaces tags
            fields["tags"] = sorted({*segment.memory.tags, *fields["tags"]})
        if mapped.trace.get("input") is not None and not segment.memory.had_input:
            root = next((span for span in mapped.spans if span.get("parent_span_id") is None), dict[str, Any]())
            if root.get("input") is not None:
                fields["input"] = mapped.trace["input"]
        return _exact(orjson.dumps(fields))


def _project_of(views: Sequence[SpanView], open_views: Sequence[SpanView]) -> str:
    """Return the project that the local root names, since a trace is in one project; empty if it names none."""
    every = (*open_views, *views)
    root: SpanView | None
    for root in reversed(every):  # usually, the root ends last
        if root.parent_id is None:
            break
    else:
        here = {view.span_id for view in every}
        root = next((view for view in every if view.parent_id not in here), None)
    named = None if root is None else root.attributes.get(PROJECT)
    return named if isinstance(named, str) else ""


def _duration_s(views: Sequence[SpanView]) -> float:
    last = max([view.start_ns if view.end_ns is None else view.end_ns for view in views])
    return max(last - min([view.start_ns for view in views]), 0) / 1e9


def _exact(encoded: bytes) -> bytes:
    """Return a copy in memory of the exact size: orjson allocates at least 4 KB for any result (measured)."""
    return bytes(memoryview(encoded)) if len(encoded) < _COPIED_BELOW else encoded


def encoder_for(config: Config, options: MappingOptions, ledger: Ledger, *, is_marked: bool) -> SegmentEncoder:
    """Return an encoder for these settings."""
    return SegmentEncoder(
        span_filter=SpanFilter(config.spans, is_marked=is_marked),
        options=options,
        ledger=ledger,
        sample_rate=config.sample_rate,
    )
