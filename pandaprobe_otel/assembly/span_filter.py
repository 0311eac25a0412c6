"""Selection of the spans to send, and new parents for the children of the others."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final, Literal

from pandaprobe_otel.assembly.remote_parents import named_in
from pandaprobe_otel.assembly.trace_buffer import Memory
from pandaprobe_otel.mapping import SpanView
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
from pandaprobe_otel.mapping.sdk_span import EndedSpan, guarded, span_of
from pandaprobe_otel.process.guard import ask, failed

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

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
        self._is_marked = is_marked

    def is_wanted(self, views: Sequence[SpanView]) -> bool:
        """Return whether to send a trace with these spans, whether ended or open."""
        return self._selection != "agent" or any(map(is_genai, views))

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
