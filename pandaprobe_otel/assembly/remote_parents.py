"""Whose child a span of another process is, when its parent is left out of the trace.

A service calls another one: the HTTP span around the call is the parent that the other one hears of, and is not sent.
Nobody knows both ends, so the caller says who stands for it: the entry `pandaprobe` of W3C's `tracestate`, which
every propagator of trace context carries, names the nearest span above it that is sent.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.trace import SpanContext, SpanKind, TraceState, get_current_span

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import ReadableSpan, Span

    from pandaprobe_otel.mapping import SpanView

STANDS_FOR: Final = "pandaprobe"
"""Key of `tracestate`; its value is a span id in 16 hexadecimal digits."""
_LEAVING: Final = (SpanKind.CLIENT, SpanKind.PRODUCER)
_PLUMBING: Final = ("http.", "rpc.", "messaging.", "net.", "network.", "url.", "mcp.", "db.", "faas.")
_GENAI: Final = ("gen_ai.operation", "gen_ai.request", "gen_ai.system", "gen_ai.tool", "llm.model", "llm.request")
"""Of GenAI's names those that spans start with. One that is missed here costs a place: a level higher in the tree."""


def mark(span: Span, *, leaves_out: bool) -> None:
    """Name who stands for a span that has just started; called by the app's threads.

    `leaves_out`: whether plumbing is left out at all. What such a span is shows in the attributes that it starts with;
    of one that gets them later, `SpanFilter` keeps what may have been a parent elsewhere.
    """
    context, parent = span.context, span.parent
    if context is None or parent is None:
        return
    state = context.trace_state
    is_named = bool(state) and STANDS_FOR in state
    if parent.is_remote:  # meant for this span alone, which is sent: those below it are its own
        if is_named:
            _set_state(span, context, state.delete(STANDS_FOR))
    elif leaves_out and span.kind in _LEAVING and _is_plumbing(span):
        if not is_named:  # else its parent is left out as well, and who stands for that one stands for this one
            _set_state(span, context, state.add(STANDS_FOR, f"{parent.span_id:016x}"))
    elif is_named and not _is_plumbing(span):
        _set_state(span, context, state.delete(STANDS_FOR))


def leave_out_strangers(span: Any, parent_context: Context | None) -> None:
    """Put a span that has just started below its parent's parent, when another provider has made the parent.

    So it is where another vendor's instrumentation sends its spans elsewhere: ours of the same call are inside of its.
    """
    parent: Any = get_current_span(parent_context)
    above = getattr(parent, "_span_processor", None)
    if above is not None and above is not getattr(span, "_span_processor", above) and hasattr(parent, "_parent"):
        span._parent = parent._parent


def joined(span: ReadableSpan, view: SpanView) -> SpanView:
    """The view of a span, below the one that stands for its parent in another process."""
    if not view.parent_is_remote:
        return view
    parent = span.parent
    named = None if parent is None else _named_in(parent)
    return view if named is None else replace(view, parent_id=named)


def named_by(span: ReadableSpan) -> int | None:
    """The id of the span that stands for this one, if one does."""
    context = span.context
    return None if context is None else _named_in(context)


def state_of(header: str) -> TraceState | None:
    """What of a `tracestate` says who stands for whom; None when nothing does, as mostly."""
    return TraceState.from_header([header]) if STANDS_FOR in header else None


def _named_in(context: SpanContext) -> int | None:
    state = context.trace_state
    if not state or (value := state.get(STANDS_FOR)) is None:
        return None
    try:
        return (int(value, 16) or None) if len(value) == 16 and value.isalnum() else None
    except ValueError:
        return None


def _set_state(span: Any, context: SpanContext, state: TraceState) -> None:
    # The SDK's span has no other way: the state is its sampler's, which is the app's.
    span._context = SpanContext(context.trace_id, context.span_id, context.is_remote, context.trace_flags, state)


def _is_plumbing(span: Span) -> bool:
    names = span.attributes or ()
    return any(name.startswith(_PLUMBING) for name in names) and not any(name.startswith(_GENAI) for name in names)
