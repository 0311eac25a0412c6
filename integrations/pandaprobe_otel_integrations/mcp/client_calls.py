"""A client's tool calls. Each has a span, whose context is sent in the request's `_meta`."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator, Iterable
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import Any, Final

from opentelemetry.context import attach, get_current, get_value, set_value
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, get_current_span, set_span_in_context

from pandaprobe_otel.mapping import attributes as ours
from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations._content import encoded
from pandaprobe_otel_integrations._guard import guarded
from pandaprobe_otel_integrations._json import to_json
from pandaprobe_otel_integrations._llm_span import without_llm_span
from pandaprobe_otel_integrations._model_call import Recorder
from pandaprobe_otel_integrations._patching import Patch, replace
from pandaprobe_otel_integrations._shape import Object, obj

from .answered_tools import answered_call
from .content import tool_result
from .other_requests import open_ended, taken

METHOD: Final = "mcp.method.name"
TOOLS_CALL: Final = "tools/call"
_CALL_KEY: Final = "pandaprobe-mcp-call"
"""Context key of the span of a tool call whose request has not been sent."""


async def recorded_call(
    recorder: Recorder,
    wrapped: Callable[..., Coroutine[Any, Any, Any]],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    """Run `ClientSession.call_tool` inside a span."""
    span = guarded(_begin, recorder, *args, **kwargs)
    if span is None:
        return await answered_call(wrapped, args, kwargs)
    before = get_current()
    inside = set_value(_CALL_KEY, span, set_span_in_context(span, without_llm_span(before)))
    attach(inside)
    try:
        result = await answered_call(wrapped, args, kwargs)
        guarded(_record, recorder, span, result)
        return result
    except BaseException as error:
        guarded(_record_error, recorder, span, error)
        raise
    finally:
        if get_current() is inside:
            attach(before)
        guarded(span.end)


def without_spans_of_its_own(module: ModuleType) -> Iterable[Patch]:
    """Leave out the library's own span of a tool call's request, because ours has more data; the others stay."""
    own = module.otel_span
    tracer: Any = import_module("mcp.shared._otel")._tracer

    @contextmanager
    def otel_span(name: str, *, attributes: dict[str, Any] | None = None, **options: Any) -> Generator[Span]:
        request = taken((attributes or {}).get(METHOD))
        if request is not None:
            with open_ended(tracer, request, name, attributes=attributes, **options) as span:
                yield span
            return
        current = get_current_span()
        if (attributes or {}).get(METHOD) == TOOLS_CALL and current is get_value(_CALL_KEY):
            current.set_attributes(attributes or {})
            yield current
        else:
            with own(name, attributes=attributes, **options) as span:
                yield span

    yield replace(module, "otel_span", otel_span)


def _begin(recorder: Recorder, name: str, arguments: Any = None, *_: Any, **__: Any) -> Span:
    attributes: dict[str, Any] = {
        METHOD: TOOLS_CALL,
        ours.OPERATION_NAME: "execute_tool",
        ours.TOOL_NAME: name,
        names.TOOL_TYPE: "extension",
    }
    if _is_tool(get_current_span()):
        attributes[ours.KIND] = "OTHER"  # a framework's tool is called through MCP: one tool call, not two
    if recorder.with_content:
        attributes |= encoded({ours.INPUT if ours.KIND in attributes else names.TOOL_CALL_ARGUMENTS: arguments})
    return recorder.tracer.start_span(f"{TOOLS_CALL} {name}", kind=SpanKind.CLIENT, attributes=attributes)


def _is_tool(span: Span) -> bool:
    attributes = _attributes(span)
    kinds = (attributes.get(ours.KIND), attributes.get("openinference.span.kind"))
    return ("TOOL" in kinds or attributes.get(ours.OPERATION_NAME) == "execute_tool") and METHOD not in attributes


def _attributes(span: Span) -> Object:
    """Return the attributes of a span of OpenTelemetry's SDK; the API cannot read them."""
    return obj(getattr(span, "attributes", None))


def _record(recorder: Recorder, span: Span, result: Any) -> None:
    given, is_error = tool_result(result)
    if recorder.with_content:
        name = ours.OUTPUT if ours.KIND in _attributes(span) else names.TOOL_CALL_RESULT
        span.set_attributes(encoded({name: given}))
    if is_error:
        span.set_attribute(ours.ERROR_TYPE, "tool_error")
        said = given if isinstance(given, str) else to_json(given)
        text = said if given and recorder.with_content else "tool_error"
        span.set_status(Status(StatusCode.ERROR, text))


def _record_error(recorder: Recorder, span: Span, error: BaseException) -> None:
    if not isinstance(error, Exception):
        span.set_attribute(ours.OUTCOME, ours.CANCELLED)
        return
    kind = type(error).__qualname__
    span.set_attribute(ours.ERROR_TYPE, kind)
    span.set_status(Status(StatusCode.ERROR, str(error) if recorder.with_content else kind))
