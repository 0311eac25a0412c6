"""Spans around the agents, tools and models of smolagents, all of which run in the caller's thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from importlib import import_module
from inspect import isgenerator
from typing import Any, Final

from opentelemetry.context import attach, get_current
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, set_span_in_context

from pandaprobe_otel import attributes as ours
from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations._content import encoded
from pandaprobe_otel_integrations._guard import guarded
from pandaprobe_otel_integrations._llm_span import with_llm_span, without_llm_span
from pandaprobe_otel_integrations._model_call import Recorder
from pandaprobe_otel_integrations._shape import items, obj, string

from .messages import answer_of, messages_of, tool_definitions, usage_of

Call = Callable[..., Any]
_FINAL: Final = "FinalAnswerStep"
_PLAIN: Final[frozenset[type]] = frozenset({str, int, float, bool, dict, list})
"""Types of results that are told as they are."""


def agent_run(recorder: Recorder, wrapped: Call, agent: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """`MultiStepAgent.run`; with `stream`, the steps are read inside the span, which ends with them."""
    span = guarded(_begin_agent, recorder, agent, args, kwargs)
    if span is None:
        return wrapped(*args, **kwargs)
    with _inside(recorder, span, agent) as open_span:
        result = wrapped(*args, **kwargs)
        if isgenerator(result):
            open_span.stays_open = True
            return _steps(recorder, span, agent, result)
        guarded(_tell_answer, recorder, span, getattr(result, "output", result))
        return result


def tool_call(recorder: Recorder, wrapped: Call, tool: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """`Tool.__call__`."""
    span = guarded(_begin_tool, recorder, tool, args, kwargs)
    if span is None:
        return wrapped(*args, **kwargs)
    with _inside(recorder, span):
        result = wrapped(*args, **kwargs)
        guarded(_tell_result, recorder, span, result)
        return result


def model_call(recorder: Recorder, wrapped: Call, model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """`generate` and `generate_stream` of a model whose client has no instrumentation of ours."""
    span = guarded(_begin_model, recorder, model, args, kwargs)
    if span is None:
        return wrapped(*args, **kwargs)
    with _inside(recorder, span, is_model=True) as open_span:
        result = wrapped(*args, **kwargs)
        if isgenerator(result):
            open_span.stays_open = True
            return _deltas(recorder, span, result)
        guarded(_tell_message, recorder, span, result)
        return result


class ContextExecutor(ThreadPoolExecutor):
    """The executor that runs an agent's code with a time limit: the code's tools are the agent's."""

    def submit(self, fn: Call, /, *args: Any, **kwargs: Any) -> Future[Any]:
        """In the context of whoever submits it."""
        return super().submit(copy_context().run, fn, *args, **kwargs)


# -- beginning --------------------------------------------------------------------------------------------------------


def _begin_agent(recorder: Recorder, agent: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Span:
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
    return recorder.tracer.start_span(name, attributes=attributes)


def _begin_tool(recorder: Recorder, tool: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Span:
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
    return recorder.tracer.start_span(f"execute_tool {name}", attributes=attributes)


def _begin_model(recorder: Recorder, model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Span:
    name = string(getattr(model, "model_id", None)) or type(model).__name__
    attributes: dict[str, Any] = {ours.OPERATION_NAME: "chat", names.PROVIDER: "huggingface", names.REQUEST_MODEL: name}
    if recorder.with_content:
        asked = args[0] if args else kwargs.get("messages")
        tools = tool_definitions(items(kwargs.get("tools_to_call_from")))
        attributes |= encoded({names.INPUT_MESSAGES: messages_of(items(asked)), names.TOOL_DEFINITIONS: tools})
    return recorder.tracer.start_span(f"chat {name}", kind=SpanKind.CLIENT, attributes=attributes)


# -- while it goes on, and the end ------------------------------------------------------------------------------------


class _OpenSpan:
    stays_open = False


@contextmanager
def _inside(recorder: Recorder, span: Span, agent: Any = None, *, is_model: bool = False) -> Generator[_OpenSpan]:
    """The span is the current one; it ends with the block, unless what the block returned is still to be read."""
    before = get_current()
    inside = with_llm_span(span, before) if is_model else set_span_in_context(span, without_llm_span(before))
    attach(inside)
    state = _OpenSpan()
    try:
        yield state
    except BaseException as error:
        guarded(_tell_raised, recorder, span, agent, error)
        raise
    finally:
        if get_current() is inside:
            attach(before)
        if not state.stays_open:
            guarded(span.end)


def _steps(recorder: Recorder, span: Span, agent: Any, steps: Generator[Any, Any, Any]) -> Generator[Any]:
    try:
        for step in _read_inside(recorder, span, agent, steps, is_model=False):
            if type(step).__name__ == _FINAL:
                guarded(_tell_answer, recorder, span, step.output)
            yield step
    except GeneratorExit:
        span.set_attribute(ours.CANCELLED, True)
        steps.close()
        raise
    finally:
        guarded(span.end)


def _deltas(recorder: Recorder, span: Span, deltas: Generator[Any, Any, Any]) -> Generator[Any]:
    said: list[Any] = []
    try:
        for delta in _read_inside(recorder, span, None, deltas, is_model=True):
            if not said:
                guarded(span.set_attribute, names.STREAM, True)
            said.append(delta)
            yield delta
    except GeneratorExit:
        span.set_attribute(ours.CANCELLED, True)
        deltas.close()
        raise
    finally:
        guarded(_tell_deltas, recorder, span, said)
        guarded(span.end)


def _read_inside(
    recorder: Recorder, span: Span, agent: Any, items_: Generator[Any, Any, Any], *, is_model: bool
) -> Generator[Any]:
    """Each item, made inside the span and given outside of it."""
    while True:
        with _inside(recorder, span, agent, is_model=is_model) as state:
            state.stays_open = True
            try:
                item = next(items_)
            except StopIteration:
                return
        yield item


def _tell_result(recorder: Recorder, span: Span, result: Any) -> None:
    if recorder.with_content:
        told: Any = result if type(result) in _PLAIN else str(result)
        span.set_attributes(encoded({names.TOOL_CALL_RESULT: told}))


def _tell_answer(recorder: Recorder, span: Span, output: Any) -> None:
    if recorder.with_content:
        parts = [{"type": "text", "content": output if isinstance(output, str) else str(output)}]
        message = {"role": "assistant", "parts": parts, "finish_reason": "stop"}
        span.set_attributes(encoded({names.OUTPUT_MESSAGES: [message]}))


def _tell_message(recorder: Recorder, span: Span, message: Any) -> None:
    span.set_attributes(usage_of(message))
    if recorder.with_content:
        span.set_attributes(encoded({names.OUTPUT_MESSAGES: answer_of(message)}))


def _tell_deltas(recorder: Recorder, span: Span, deltas: list[Any]) -> None:
    models: Any = import_module("smolagents.models")  # loaded: its generator was read
    _tell_message(recorder, span, models.agglomerate_stream_deltas(deltas))


def _tell_raised(recorder: Recorder, span: Span, agent: Any, error: BaseException) -> None:
    interrupted = type(error).__name__ == "AgentError" and getattr(agent, "interrupt_switch", False)
    if interrupted or not isinstance(error, Exception) or isinstance(error, asyncio.CancelledError):
        span.set_attribute(ours.CANCELLED, True)
        return
    kind = type(error).__name__
    span.set_attribute(ours.ERROR_TYPE, kind)
    span.set_status(Status(StatusCode.ERROR, str(error) if recorder.with_content else kind))
