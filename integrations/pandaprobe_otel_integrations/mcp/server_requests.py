"""Requests on the server's side: the library's own spans lack their content, which is added."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from opentelemetry.trace import Span, get_current_span

from pandaprobe_otel.mapping import attributes as ours
from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations._content import encoded
from pandaprobe_otel_integrations._guard import guarded
from pandaprobe_otel_integrations._json import to_json
from pandaprobe_otel_integrations._shape import Object, obj

from .client_calls import TOOLS_CALL
from .content import plain, tool_result
from .other_requests import TOLD, asked

CallNext = Callable[[Any], Coroutine[Any, Any, Any]]


def noting(call_next: CallNext) -> CallNext:
    """Run the rest of the server's middleware inside the library's span, and record its content there."""

    async def noted(request: Any) -> Any:
        span = get_current_span()
        method, params = str(request.method), obj(request.params)
        guarded(_note_request, span, method, params)
        result = await call_next(request)
        guarded(_note_answered, span, method, result)
        return result

    return noted


def _note_request(span: Span, method: str, params: Object) -> None:
    if method == TOOLS_CALL:
        span.set_attributes(encoded({names.TOOL_CALL_ARGUMENTS: params.get("arguments")}))
        span.set_attribute(names.TOOL_TYPE, "extension")
    elif method in TOLD:
        span.set_attributes(encoded({ours.INPUT: asked(params)}))


def _note_answered(span: Span, method: str, result: Any) -> None:
    if method == TOOLS_CALL:
        given, is_error = tool_result(result)
        span.set_attributes(encoded({names.TOOL_CALL_RESULT: given}))
        if is_error:  # the library's status has no text
            span.set_attribute(ours.ERROR, given if isinstance(given, str) else to_json(given))
    elif method in TOLD:
        span.set_attributes(encoded({ours.OUTPUT: plain(result)}))
