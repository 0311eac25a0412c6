"""Spans around the agents, tools and models of smolagents, all of which run in the caller's thread."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from time import time_ns
from typing import Any

from opentelemetry.context import get_current
from opentelemetry.trace import Span, SpanKind

from pandaprobe_otel.mapping import attributes as ours
from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations._content import encoded
from pandaprobe_otel_integrations._llm_span import CallWatch, is_taken, with_llm_span, with_watch
from pandaprobe_otel_integrations._model_call import Recorder
from pandaprobe_otel_integrations._shape import items, obj, string

from .late_span import LateSpan
from .messages import messages_of, parameters_of, tool_definitions
from .scopes import AgentScope, ModelScope, ToolScope


class ContextExecutor(ThreadPoolExecutor):
    """The executor that runs an agent's code with a time limit. It makes the code's tools part of the agent."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Submit in the submitter's context."""
        return super().submit(copy_context().run, fn, *args, **kwargs)


def begin_agent(recorder: Recorder, agent: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> AgentScope:
    """Open the span of `MultiStepAgent.run`. With `stream`, the steps are read inside it, and it ends with them."""
    name = string(getattr(agent, "name", None)) or type(agent).__name__
    attributes: dict[str, Any] = {
        ours.KIND: "AGENT",
        ours.OPERATION_NAME: "invoke_agent",
        names.AGENT_NAME: name,
    }
    if recorder.with_content:
        task = kwargs.get("task") if not args else args[0]
        parts = [{"type": "text", "content": str(task)}]
        attributes |= encoded({names.INPUT_MESSAGES: [{"role": "user", "parts": parts}]})
    return AgentScope(recorder, recorder.tracer.start_span(name, attributes=attributes), agent)


def begin_tool(recorder: Recorder, tool: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> ToolScope:
    """Open the span of `Tool.__call__`."""
    name = str(tool.name)
    attributes: dict[str, Any] = {
        ours.OPERATION_NAME: "execute_tool",
        ours.TOOL_NAME: name,
        names.TOOL_TYPE: "function",
    }
    if recorder.with_content:
        given = dict(zip(list(obj(getattr(tool, "inputs", None))), args, strict=False))
        if len(args) == 1 and isinstance(args[0], dict):
            given = dict(obj(args[0]))
        named = {key: value for key, value in kwargs.items() if key != "sanitize_inputs_outputs"}
        attributes |= encoded({names.TOOL_CALL_ARGUMENTS: {**given, **named}})
    return ToolScope(recorder, recorder.tracer.start_span(f"execute_tool {name}", attributes=attributes))


def begin_own_model(recorder: Recorder, model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> ModelScope:
    """Open the span of a call of the app's own model class, unless the client that it uses makes one."""
    watch, context, begun_ns = CallWatch(), get_current(), time_ns()
    name, attributes = _described(recorder, model, args, kwargs)

    def start() -> Span:
        return recorder.tracer.start_span(
            f"chat {name}", context, kind=SpanKind.CLIENT, attributes=attributes, start_time=begun_ns
        )

    return ModelScope(recorder, LateSpan(start, watch), with_watch(watch))


def begin_model(recorder: Recorder, model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> ModelScope:
    """Open the span of `generate` or `generate_stream` of a model whose client has no integration of ours."""
    is_taken(get_current())  # noted by the watch
    name, attributes = _described(recorder, model, args, kwargs)
    attributes[names.PROVIDER] = "huggingface"
    span = recorder.tracer.start_span(f"chat {name}", kind=SpanKind.CLIENT, attributes=attributes)
    return ModelScope(recorder, span, with_llm_span(span))


def _described(
    recorder: Recorder, model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[str, dict[str, Any]]:
    name = string(getattr(model, "model_id", None)) or type(model).__name__
    attributes: dict[str, Any] = {ours.OPERATION_NAME: "chat", names.REQUEST_MODEL: name}
    if recorder.with_content:
        asked = args[0] if args else kwargs.get("messages")
        tools = tool_definitions(items(kwargs.get("tools_to_call_from")))
        said = {names.INPUT_MESSAGES: messages_of(items(asked)), names.TOOL_DEFINITIONS: tools}
        attributes |= encoded({**said, **parameters_of(model, kwargs)})
    return name, attributes
