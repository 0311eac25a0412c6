"""OpenTelemetry spans for the Model Context Protocol: one trace of client and server, with the tools' results."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator, Iterable, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from importlib import import_module
from types import ModuleType
from typing import Any, Final

from opentelemetry.context import get_current, get_value, set_value
from opentelemetry.trace import INVALID_SPAN, Span, get_current_span, set_span_in_context

from pandaprobe_otel.capture import tool_answers
from pandaprobe_otel.mapping import attributes as ours
from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations import _parts as parts
from pandaprobe_otel_integrations._guard import guarded
from pandaprobe_otel_integrations._integration import Integration
from pandaprobe_otel_integrations._json import Object, encoded, from_json, items, obj, objects, string, to_json
from pandaprobe_otel_integrations._model_call import Recorder
from pandaprobe_otel_integrations._other_members import with_rest
from pandaprobe_otel_integrations._parts import Part
from pandaprobe_otel_integrations._patching import OriginalCall, Patch, Undoable, patch, replace
from pandaprobe_otel_integrations._rivals import OPENLLMETRY, Rival
from pandaprobe_otel_integrations._span_scope import SpanScope, await_inside
from pandaprobe_otel_integrations._spans import fail, tool, without_llm_span

__all__ = ["MCPInstrumentor"]


# -- A client's tool calls that an open recording answers or keeps -----------------------------------------------------


async def answered_call(original: OriginalCall) -> Any:
    """Run `ClientSession.call_tool`, or answer it from a recording, if one is open and wants this tool."""
    name, arguments = _call(*original.args, **original.kwargs)
    return await tool_answers.call_async(name, arguments, original, _FORM)


def _call(name: str, arguments: Mapping[str, Any] | None = None, *_: Any, **__: Any) -> tuple[str, Any]:
    return name, lambda: dict(arguments or {})


def _kept(result: Any) -> Any:
    return result.model_dump(mode="json", by_alias=True, exclude_none=True)


def _given(said: Any) -> Any:
    """Return a result of the library's own class. A result that was made from a trace has only the text."""
    kind: Any = import_module("mcp.types").CallToolResult
    if isinstance(said, dict) and "content" in said:
        return kind.model_validate(said)
    return kind.model_validate({"content": [{"type": "text", "text": tool_answers.text_of(said)}]})


_FORM: Final = tool_answers.Form(kept=_kept, given=_given)


# -- inputs and outputs of MCP's tools, prompts and resources, without the bytes of pictures, sound and files ----------

_MEDIA: Final = frozenset({"image", "audio"})
_TEXT: Final = frozenset({"type", "text"})
_BYTES: Final = frozenset({"type", "data", "blob", "mime_type", "mimeType"})
_OF_PROTOCOL: Final = "io.modelcontextprotocol/"
_DEEPEST: Final = 100


def tool_result(result: Any) -> tuple[Any, bool]:
    """Return a tool's result, and whether it is marked as an error.

    The result is a text if it contains only text. A structured result is added unless the text repeats it.
    """
    found = obj(result)
    given = [_part(each) for each in objects(found.get("content"))]
    is_error = found.get("is_error") is True or found.get("isError") is True
    value: Any = given
    if given and all(part.keys() == {"type", "content"} for part in given):
        value = "\n".join(str(part["content"]) for part in given)
    structured = found.get("structured_content") or found.get("structuredContent")
    beside = {"_meta": meta} if (meta := _meta(found)) else {}
    if structured and not _says(given, structured):
        if not given and not beside:
            return structured, is_error
        beside["structured_content"] = structured
    return ({"content": value, **beside} if beside else value), is_error


def plain(value: Any, depth: int = 0) -> Any:
    """Return a request or an answer unchanged, with markers for bytes."""
    members = obj(value)
    if depth > _DEEPEST:
        return str(value)
    if members:
        if "blob" in members or members.get("type") in _MEDIA:
            return _part(members)
        return {str(key): plain(item, depth + 1) for key, item in members.items() if item is not None}
    if isinstance(value, (list, tuple)):
        return [plain(item, depth + 1) for item in items(value)]
    return value


def _meta(found: Object) -> dict[str, Any]:
    """Return the server's metadata of a result, without the protocol's own members."""
    meta = obj(found.get("meta") or found.get("_meta"))
    return {str(name): value for name, value in meta.items() if not str(name).startswith(_OF_PROTOCOL)}


def _says(given: list[Part], structured: Any) -> bool:
    """Return whether the texts repeat the structured result; for a list, each text is one item."""
    wrapped = structured.get("result", structured) if len(structured) == 1 else structured
    texts = [str(part.get("content")) for part in given]
    said = [_read(text) for text in texts]
    return wrapped in (texts, said) or structured in said or (len(given) == 1 and wrapped in (texts[0], said[0]))


def _read(text: str) -> Any:
    try:
        return from_json(text)
    except (ValueError, RecursionError):
        return text


def _part(content: Object) -> Part:
    kind = str(content.get("type"))
    if kind == "text":
        return with_rest(parts.text(str(content.get("text") or "")), content, _TEXT)
    if kind in _MEDIA:
        return with_rest(_bytes(content, "data", kind), content, _BYTES)
    if "blob" in content:
        return with_rest(_bytes(content, "blob", "document"), content, _BYTES)
    resource = obj(content.get("resource"))
    if "blob" in resource:
        found = with_rest(_bytes(resource, "blob", "document"), resource, _BYTES)
        return with_rest(found, content, frozenset({"type", "resource"}))
    return dict(content)


def _bytes(content: Object, name: str, kind: str) -> Part:
    mime_type = string(content.get("mime_type")) or string(content.get("mimeType"))
    return parts.base64_blob(str(content.get(name) or ""), kind, mime_type)


# -- content of requests other than tool calls, from client and server, in the library's own spans ---------------------

METHOD: Final = "mcp.method.name"
TOOLS_CALL: Final = "tools/call"
TOLD: Final = frozenset(
    {"prompts/get", "resources/read", "completion/complete", "sampling/createMessage", "elicitation/create"}
)
"""Methods whose requests and answers are content."""


class Request:
    """A request whose content is recorded on the library's own span, by the side that sends it or answers it."""

    def __init__(self, method: str, params: Any) -> None:
        self.method = method
        self.span: Span = INVALID_SPAN
        self._params = params

    def opened(self, span: Span) -> None:
        """Record the parameters on the span that the library has opened."""
        self.span = span
        if self.method == TOOLS_CALL:
            span.set_attributes(encoded({names.TOOL_CALL_ARGUMENTS: obj(self._params).get("arguments")}))
            span.set_attribute(names.TOOL_TYPE, "extension")
        elif self.method in TOLD:
            given = {key: value for key, value in obj(self._params).items() if key not in ("_meta", "meta")}
            span.set_attributes(encoded({ours.INPUT: plain(given)}))

    def answered(self, result: Any) -> None:
        """Record the answer."""
        if self.method == TOOLS_CALL:
            given, is_error = tool_result(result)
            self.span.set_attributes(encoded({names.TOOL_CALL_RESULT: given}))
            if is_error:  # the library's status has no text
                self.span.set_attribute(ours.ERROR, given if isinstance(given, str) else to_json(given))
        elif self.method in TOLD:
            self.span.set_attributes(encoded({ours.OUTPUT: plain(result)}))


_REQUEST: Final[ContextVar[Request | None]] = ContextVar("pandaprobe_mcp_request", default=None)
"""The request whose span is opened next."""


def taken(method: Any) -> Request | None:
    """Return the request for which a span of this method is opened."""
    request = _REQUEST.get()
    if request is None or request.method != method:
        return None
    _REQUEST.set(None)
    return request


@contextmanager
def open_ended(tracer: Any, request: Request, name: str, **options: Any) -> Generator[Span]:
    """Yield the library's span of a request, which ends when the answer is recorded."""
    with tracer.start_as_current_span(name, end_on_exit=False, **options) as span:
        guarded(request.opened, span)
        yield span


async def sent(original: OriginalCall, request: Request) -> Any:
    """Run `send_raw_request` of a dispatcher, and record the answer on the span opened in it."""
    token = _REQUEST.set(request)
    try:
        result = await original()
        guarded(request.answered, result)
        return result
    except Exception:
        raise
    except BaseException:
        request.span.set_attribute(ours.OUTCOME, ours.CANCELLED)
        raise
    finally:
        _REQUEST.reset(token)
        guarded(request.span.end)


# -- A client's tool calls. Each has a span, whose context is sent in the request's `_meta` ----------------------------

_CALL_KEY: Final = "pandaprobe-mcp-call"
"""Context key of the span of a tool call whose request has not been sent."""


class CallScope(SpanScope):
    """A call of `ClientSession.call_tool`."""

    def __init__(self, recorder: Recorder, name: str, arguments: Any = None, *_: Any, **__: Any) -> None:
        span = _begin(recorder, name, arguments)
        inside = set_span_in_context(span, without_llm_span(get_current()))
        super().__init__(recorder, span, context=set_value(_CALL_KEY, span, inside))

    def _record(self, value: Any) -> None:
        given, is_error = tool_result(value)
        name = ours.OUTPUT if ours.KIND in _attributes(self.span) else names.TOOL_CALL_RESULT
        self.write(lambda: {name: given})
        if is_error:
            said = given if isinstance(given, str) else to_json(given)
            fail(self.span, "tool_error", said if given and self.recorder.with_content else "tool_error")


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


def _begin(recorder: Recorder, name: str, arguments: Any) -> Span:
    attributes = {METHOD: TOOLS_CALL, **tool(name), names.TOOL_TYPE: "extension"}
    given = names.TOOL_CALL_ARGUMENTS
    if _is_tool(get_current_span()):  # a framework's tool is called through MCP: one tool call, not two
        attributes[ours.KIND], given = "OTHER", ours.INPUT
    return recorder.start(f"{TOOLS_CALL} {name}", attributes, lambda: {given: arguments}, is_model_call=True)


def _is_tool(span: Span) -> bool:
    attributes = _attributes(span)
    kinds = (attributes.get(ours.KIND), attributes.get("openinference.span.kind"))
    return ("TOOL" in kinds or attributes.get(ours.OPERATION_NAME) == "execute_tool") and METHOD not in attributes


def _attributes(span: Span) -> Object:
    """Return the attributes of a span of OpenTelemetry's SDK; the API cannot read them."""
    return obj(getattr(span, "attributes", None))


# -- requests on the server's side: the library's own spans lack their content, which is added -------------------------

CallNext = Callable[[Any], Coroutine[Any, Any, Any]]


def noting(call_next: CallNext) -> CallNext:
    """Run the rest of the server's middleware inside the library's span, and record its content there."""

    async def noted(request: Any) -> Any:
        noted_of = Request(str(request.method), obj(request.params))
        guarded(noted_of.opened, get_current_span())
        result = await call_next(request)
        guarded(noted_of.answered, result)
        return result

    return noted


class MCPInstrumentor(Integration):
    """Tool calls of MCP clients and servers, prompts, resources and requests from servers, over every transport.

    The library makes its own spans, and sends the trace context in `_meta`. The server's spans are used, with arguments
    and results added. For a client's tool call, our span replaces the library's. If an agent framework already has a
    TOOL span for the call, ours has the kind OTHER. See `Integration` for the options of `instrument()`.
    """

    library = "mcp"
    hooked_modules = ("mcp.client.session", "mcp.server._otel", "mcp.shared.jsonrpc_dispatcher")
    rivals = (Rival(vendor=OPENLLMETRY, module="opentelemetry.instrumentation.mcp"),)

    def _hook(self, module: ModuleType) -> Iterable[Undoable]:
        if module.__name__ == "mcp.client.session":
            yield patch(module.ClientSession, "call_tool", self._calling)
        elif module.__name__ == "mcp.server._otel":
            yield patch(module.OpenTelemetryMiddleware, "__call__", self._serving)
        else:
            yield from without_spans_of_its_own(module)
            yield patch(module.JSONRPCDispatcher, "send_raw_request", self._sending)

    def _calling(self, original: OriginalCall) -> Any:
        if not self._lets_through(original.owner):
            return original()
        scope = guarded(CallScope, self._recorder, *original.args, **original.kwargs)
        answered = partial(answered_call, original)
        return answered() if scope is None else await_inside(scope, answered)

    def _sending(self, original: OriginalCall) -> Any:
        method, params = (*original.args, None, None)[:2]
        if method not in TOLD or not self._lets_through(None) or not self._recorder.with_content:
            return original()
        return sent(original, Request(method, params))

    def _serving(self, original: OriginalCall) -> Any:
        if len(original.args) == 2 and self._open and self._recorder.with_content:
            original.args = (original.args[0], noting(original.args[1]))
        return original()
