"""Parents for spans of other processes whose own parent is left out of the trace.

If a service calls another service, the callee's parent is the HTTP span around the call, which is not sent. Neither
service knows the whole tree, so the caller names a replacement: the nearest ancestor that is sent. It names the
replacement in the entry `pandaprobe` of W3C's `tracestate`, which every trace context propagator carries.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.trace import SpanContext, SpanKind, TraceState, get_current_span

from pandaprobe_otel.mapping.sdk_span import begun

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import Span

    from pandaprobe_otel.mapping import SpanView

STANDS_FOR: Final = "pandaprobe"
"""Key of `tracestate`; its value is a span id in 16 hexadecimal digits."""
LEAVING: Final = (SpanKind.CLIENT, SpanKind.PRODUCER)
"""Kinds of spans that call another process."""
_PLUMBING: Final = ("http.", "rpc.", "messaging.", "net.", "network.", "url.", "mcp.", "db.", "faas.")
_GENAI: Final = ("gen_ai.operation", "gen_ai.request", "gen_ai.system", "gen_ai.tool", "llm.model", "llm.request")
"""GenAI attribute names that spans have at their start. If a span has none, its children appear one level too high."""


def mark(span: Span, *, leaves_out: bool) -> None:
    """Name the replacement of a span that has just started; called by the app's threads.

    Does nothing for a span whose kind is not in `LEAVING` and whose trace state is the default one.
    `leaves_out`: True if transport spans may be left out. They are recognized by the attributes that they have at their
    start. If a span gets its attributes later, `SpanFilter` keeps it if it may be a parent in another process.
    """
    context, parent, kind = begun(span)
    if context is None or parent is None:
        return
    state = context.trace_state
    is_named = STANDS_FOR in state
    if parent.is_remote:  # the entry was meant for this span, which is sent and is the parent of its children
        if is_named:
            _set_state(span, context, state.delete(STANDS_FOR))
    elif leaves_out and kind in LEAVING and _is_plumbing(span):
        if not is_named:  # else its parent is left out too, and both have the same replacement
            _set_state(span, context, state.add(STANDS_FOR, f"{parent.span_id:016x}"))
    elif is_named and not _is_plumbing(span):
        _set_state(span, context, state.delete(STANDS_FOR))


def leave_out_strangers(span: Any, parent_context: Context | None) -> None:
    """Move a new span below its grandparent if its parent belongs to another provider.

    That is the case if another vendor's instrumentation sends its spans elsewhere: our span of the same call is inside
    its span.
    """
    parent: Any = get_current_span(parent_context)
    above = getattr(parent, "_span_processor", None)
    if above is not None and above is not getattr(span, "_span_processor", above) and hasattr(parent, "_parent"):
        span._parent = parent._parent


def joined(view: SpanView, parent: SpanContext | None) -> SpanView:
    """Return the view of a span, with the replacement of its parent if that is in another process."""
    named = None if parent is None or not parent.is_remote else named_in(parent)
    return view if named is None else replace(view, parent_id=named)


def state_of(header: str) -> TraceState | None:
    """Return a `tracestate` header as an object if it names a replacement, else None (the usual case)."""
    return TraceState.from_header([header]) if STANDS_FOR in header else None


def named_in(context: SpanContext) -> int | None:
    """Return the id of the span that replaces this one as a parent; None if there is none."""
    state = context.trace_state
    if not state or (value := state.get(STANDS_FOR)) is None:
        return None
    try:
        return (int(value, 16) or None) if len(value) == 16 and value.isalnum() else None
    except ValueError:
        return None


def _set_state(span: Any, context: SpanContext, state: TraceState) -> None:
    # The SDK has no other way to change a trace state: the sampler sets it, and the sampler belongs to the app.
    span._context = SpanContext(context.trace_id, context.span_id, context.is_remote, context.trace_flags, state)


def _is_plumbing(span: Span) -> bool:
    names = span.attributes or ()
    return any(name.startswith(_PLUMBING) for name in names) and not any(name.startswith(_GENAI) for name in names)
