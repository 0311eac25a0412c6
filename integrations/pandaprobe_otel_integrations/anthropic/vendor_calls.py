"""Calls that another vendor's instrumentation has begun: the client's own span of the call goes below its span.

The client makes its own spans, also while another vendor records its calls. Not every vendor makes its span current, so
that the client's span would be a trace of its own. Below the vendor's span, both become one span.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from contextvars import ContextVar
from typing import Any, Final

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.trace import Span as ApiSpan
from opentelemetry.trace import Tracer, get_current_span, set_span_in_context

_BEGUN: Final[ContextVar[weakref.ref[Span] | None]] = ContextVar("pandaprobe_vendors_span", default=None)
"""The vendor's last span in this context, until the client has made its own span below it."""
_watched: Final[weakref.WeakSet[Any]] = weakref.WeakSet()


def watch_calls(provider: Any, modules: Sequence[str]) -> None:
    """Note the spans that these modules of vendors begin with this provider."""
    if hasattr(provider, "add_span_processor") and provider not in _watched:
        _watched.add(provider)
        provider.add_span_processor(_VendorCalls(tuple(modules)))


def below_vendors_span(tracer: Tracer) -> Tracer:
    """Return a tracer whose next span is below the vendor's span; the same tracer if none is open or it is current."""
    begun = _BEGUN.get()
    span = None if begun is None else begun()
    if span is None or not span.is_recording() or span is get_current_span():
        return tracer
    return _Below(tracer, span)


class _VendorCalls(SpanProcessor):
    def __init__(self, modules: tuple[str, ...]) -> None:
        self._modules = modules

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        scope = span.instrumentation_scope
        if scope is not None and scope.name.startswith(self._modules):
            _BEGUN.set(weakref.ref(span))

    def on_end(self, span: ReadableSpan) -> None:
        pass


class _Below(Tracer):
    def __init__(self, tracer: Tracer, above: Span) -> None:
        self._tracer = tracer
        self._above = above

    def start_span(self, *args: Any, **kwargs: Any) -> ApiSpan:
        _BEGUN.set(None)
        return self._tracer.start_span(*args, **{"context": set_span_in_context(self._above), **kwargs})

    def start_as_current_span(self, *args: Any, **kwargs: Any) -> Any:
        return self._tracer.start_as_current_span(*args, **kwargs)
