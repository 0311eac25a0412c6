"""OpenTelemetry spans for AG2: around the turns of its agents and, through a middleware, around their tools."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import ModuleType
from typing import Any, Final

from pandaprobe_otel.capture.wrapping import Scope, wrap
from pandaprobe_otel.mapping import attributes as ours
from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations import _parts as parts
from pandaprobe_otel_integrations._guard import guarded
from pandaprobe_otel_integrations._integration import Integration
from pandaprobe_otel_integrations._json import Content, items, obj, string, to_json
from pandaprobe_otel_integrations._model_call import Recorder
from pandaprobe_otel_integrations._other_members import answer_data, told
from pandaprobe_otel_integrations._parts import Part
from pandaprobe_otel_integrations._patching import OriginalCall, Undoable, patch
from pandaprobe_otel_integrations._span_scope import SpanScope
from pandaprobe_otel_integrations._spans import adopt, record_raised, tool
from pandaprobe_otel_integrations._spans import agent as agent_attributes

__all__ = ["AG2Instrumentor"]


# -- inputs and outputs of AG2's agents and tools: texts, data, addresses, bytes and files -----------------------------


def input_part(given: Any) -> Part:
    """Return an input as a part of a message, with the app's data about it; bytes are shown by their digest."""
    return {**_part(given), **_rest(given)}


def input_value(given: Any) -> Any:
    """Return an input of a tool as a plain value if possible, otherwise as a part of a message."""
    if _rest(given):
        return input_part(given)
    for name in ("content", "data", "url"):
        found = getattr(given, name, None)
        if found is not None and not isinstance(found, bytes):
            return found
    return _part(given)


def file_part(made: Any) -> Part:
    """Return a file that a model made."""
    data: Any = getattr(made, "data", None)
    if not isinstance(data, bytes):
        return {"type": "file", **_members(made)}
    kind = string(getattr(made, "media_type", None))
    found = parts.blob(data, (kind or "image").partition("/")[0], kind)
    metadata = obj(getattr(made, "metadata", None))
    return {**found, "metadata": told(dict(metadata))} if metadata else found


def _part(given: Any) -> Part:
    text, data, url = (getattr(given, name, None) for name in ("content", "data", "url"))
    kind = str(getattr(getattr(given, "kind", None), "value", "file"))
    if isinstance(text, str):
        return parts.text(text)
    if isinstance(data, bytes):
        return parts.blob(data, kind, string(getattr(given, "media_type", None)))
    if isinstance(url, str):
        return parts.media(url, kind)
    if data is not None:
        return parts.text(data if isinstance(data, str) else to_json(data))
    return {"type": kind, **_members(given)}


def _members(given: Any) -> dict[str, Any]:
    members = obj(getattr(given, "__dict__", None))
    return {name: told(value, name) for name, value in members.items() if value and not name.startswith("_")}


def _rest(given: Any) -> dict[str, Any]:
    found = {name: obj(getattr(given, name, None)) for name in ("metadata", "vendor_metadata")}
    return {name: told(dict(value)) for name, value in found.items() if value}


# -- the spans of a turn of an agent and of a tool call ----------------------------------------------------------------


class ToolScope(SpanScope):
    """A tool call, which AG2 reports by an event with the tool's result or exception."""

    def _record(self, value: Any) -> None:
        error = getattr(value, "error", None)
        if isinstance(error, Exception):
            record_raised(self.span, error, with_content=self.recorder.with_content)
        else:
            self.write(lambda: _tool_result(getattr(value, "result", None)))


def _tool_result(result: Any) -> Content:
    found = [input_value(each) for each in items(getattr(result, "parts", None))]
    beside = answer_data(metadata=told(dict(obj(getattr(result, "metadata", None)))))
    return {names.TOOL_CALL_RESULT: found[0] if len(found) == 1 else found, **beside}


def _reply(reply: Any) -> Content:
    said = [*parts.texts(reply.body), *map(file_part, reply.files)]
    reason = string(getattr(reply.response, "finish_reason", None)) or "stop"
    return {names.OUTPUT_MESSAGES: parts.answer_message(said, reason) if said else []}


def begin_turn(recorder: Recorder, agent: Any, event: Any, context: Any) -> SpanScope:
    """Start the span of a turn, as a child of the current one: a sub-agent's turn is below the tool that calls it."""
    name = string(agent.name) or type(agent).__name__
    stream = getattr(getattr(context, "stream", None), "id", None)
    attributes = {**agent_attributes(name), names.CONVERSATION_ID: None if stream is None else str(stream)}
    return SpanScope(recorder, recorder.start(name, attributes, lambda: _input(event, context)), _reply)


def begin_tool(recorder: Recorder, call: Any) -> ToolScope:
    """Start the span of a tool call."""
    attributes = tool(string(call.name), string(call.id))
    given = lambda: {names.TOOL_CALL_ARGUMENTS: parts.decoded_arguments(call.arguments)}  # noqa: E731
    return ToolScope(recorder, recorder.start(f"execute_tool {call.name}", attributes, given))


def begin_question(recorder: Recorder, request: Any) -> SpanScope:
    """Start the span of a question for a person."""
    span = recorder.start("human input", {ours.KIND: "OTHER"}, lambda: {ours.INPUT: request.content})
    return SpanScope(recorder, span, lambda answer: {ours.OUTPUT: answer.content})


def _input(event: Any, context: Any) -> Content:
    """Return the messages, and the variables that the app has set for them."""
    found = [input_part(each) for each in items(getattr(event, "parts", None))]
    messages = [{"role": "user", "parts": found}] if found else []
    variables = obj(getattr(context, "variables", None))
    if not variables:
        return {names.INPUT_MESSAGES: messages}
    return {names.INPUT_MESSAGES: messages, ours.INPUT: {"messages": messages, "variables": told(dict(variables))}}


_AGENTS: Final = "ag2.agent"
_SCOPE: Final = "opentelemetry.instrumentation.ag2"
_OWN: Final = "TelemetryMiddleware"
"""AG2's own middleware for spans, which an app may use."""

Open = Callable[..., AbstractAsyncContextManager[Callable[[], Any]]]


class AG2Instrumentor(Integration):
    """Turns of agents with their sub-agents, model calls and tools.

    The client (openai, anthropic, ...) makes the span of a model call; a client without an integration makes none.
    The id of an agent's stream, which all turns of a conversation share, is the session unless the app sets one. If
    an agent has AG2's own TelemetryMiddleware, its spans are used. See `Integration` for the options of
    `instrument()`.
    """

    library = "ag2"
    hooked_modules = (_AGENTS,)

    def _hook(self, module: ModuleType) -> Iterable[Undoable]:
        tools = self._tool_middleware(module.BaseMiddleware)

        def opening(original: OriginalCall) -> Any:
            given = tuple(original.kwargs.get("additional_middleware", ()))
            if not self._lets_through(original.owner) or _makes_spans(original.owner, given):
                return original()
            original.kwargs = {**original.kwargs, "additional_middleware": (*given, tools)}
            return self._turn(original(), original.owner, original.args[0], original.kwargs.get("context"))

        yield adopt(_SCOPE, is_on=self._is_on)
        yield patch(module.Agent, "_drive_scope", opening)

    @asynccontextmanager
    async def _turn(
        self, opened: AbstractAsyncContextManager[Callable[[], Any]], agent: Any, event: Any, context: Any
    ) -> AsyncGenerator[Callable[[], Any]]:
        async with opened as drive:

            async def driven() -> Any:
                return await drive()

            yield wrap(driven, lambda _args, _kwargs: guarded(begin_turn, self._recorder, agent, event, context))

    def _tool_middleware(self, base: type[Any]) -> type[Any]:
        async def execute(_self: Any, call_next: Callable[..., Any], event: Any, context: Any) -> Any:
            return await call_next(event, context)

        def opened(args: tuple[Any, ...], _kwargs: dict[str, Any]) -> Scope | None:
            return guarded(begin_tool, self._recorder, args[2]) if self._open else None

        async def ask(_self: Any, call_next: Callable[..., Any], event: Any, context: Any) -> Any:
            return await call_next(event, context)

        def asked(args: tuple[Any, ...], _kwargs: dict[str, Any]) -> Scope | None:
            return guarded(begin_question, self._recorder, args[2]) if self._open else None

        hooks = {"on_tool_execution": wrap(execute, opened), "on_human_input": wrap(ask, asked)}
        return type("ToolSpans", (base,), hooks)


def _makes_spans(agent: Any, given: tuple[Any, ...]) -> bool:
    return any(type(each).__name__ == _OWN for each in (*agent._middleware, *given))
