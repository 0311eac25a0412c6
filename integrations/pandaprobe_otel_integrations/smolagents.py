"""OpenTelemetry spans for smolagents, from patches of its agents, tools and models."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from importlib import import_module
from time import time_ns
from types import ModuleType
from typing import Any, Final

from opentelemetry.context import Context, get_current
from opentelemetry.trace import INVALID_SPAN_CONTEXT, NonRecordingSpan, Span, SpanKind

from pandaprobe_otel.mapping import attributes as ours
from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations import _parts as parts
from pandaprobe_otel_integrations._guard import guarded
from pandaprobe_otel_integrations._integration import Integration
from pandaprobe_otel_integrations._json import Content, Object, encoded, items, obj, objects, string
from pandaprobe_otel_integrations._model_call import Recorder
from pandaprobe_otel_integrations._openai_protocol.chat_messages import content_parts
from pandaprobe_otel_integrations._other_members import parameters, told
from pandaprobe_otel_integrations._parts import Part
from pandaprobe_otel_integrations._patching import OriginalCall, Patch, Undoable, Wrapper, patch, replace
from pandaprobe_otel_integrations._span_scope import SpanScope, call_inside
from pandaprobe_otel_integrations._spans import CallWatch, is_taken, record_ended, tool, with_llm_span, with_watch
from pandaprobe_otel_integrations._spans import agent as agent_attributes

__all__ = ["SmolagentsInstrumentor"]


# -- the app's own model classes, whose methods are hooked when an agent with one runs for the first time --------------

_METHODS: Final = ("generate", "generate_stream")
_LIBRARY: Final = "smolagents."


class OwnModels:
    """The hooks on these classes, which are removed together."""

    def __init__(self, wrapper: Wrapper) -> None:
        self._wrapper = wrapper
        self._lock = threading.Lock()
        self._hooked: dict[type[Any], list[Patch]] = {}
        self._is_off = False

    def hook(self, model: Any) -> None:
        """Hook the methods of this model's class that do not come from smolagents."""
        owners = [
            owner
            for owner in type(model).__mro__
            if not f"{owner.__module__}.".startswith(_LIBRARY) and any(name in owner.__dict__ for name in _METHODS)
        ]
        for owner in owners[:1]:  # methods of its base classes are part of its call
            if owner not in self._hooked:
                self._add(owner)

    def _add(self, owner: type[Any]) -> None:
        with self._lock:
            if not self._is_off and owner not in self._hooked:
                self._hooked[owner] = [patch(owner, name, self._wrapper) for name in _METHODS if name in owner.__dict__]

    def undo(self) -> None:
        """Remove the hooks."""
        with self._lock:
            self._is_off = True
            hooked, self._hooked = self._hooked, {}
        for each in (one for patches in hooked.values() for one in patches):
            each.undo()


# -- A span that is made only at its end, if nobody else has made one for the same call --------------------------------


class LateSpan(NonRecordingSpan):
    """A buffer for attributes of the span that `start` makes."""

    def __init__(self, start: Callable[[], Span], watch: CallWatch) -> None:
        super().__init__(INVALID_SPAN_CONTEXT)
        self._start = start
        self._watch = watch
        self._told: list[Callable[[Span], object]] = []
        self._is_open = True

    def is_recording(self) -> bool:
        """Return whether it accepts attributes: until its end."""
        return self._is_open

    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        """Keep the attributes."""
        self._told.append(lambda span: span.set_attributes(attributes))

    def set_attribute(self, key: str, value: Any) -> None:
        """Keep the attribute."""
        self._told.append(lambda span: span.set_attribute(key, value))

    def set_status(self, status: Any, description: str | None = None) -> None:
        """Keep the status."""
        self._told.append(lambda span: span.set_status(status, description))

    def record_exception(
        self,
        exception: BaseException,
        attributes: Any = None,
        timestamp: int | None = None,
        escaped: bool = False,
    ) -> None:
        """Keep the exception."""
        self._told.append(lambda span: span.record_exception(exception, attributes, timestamp, escaped))

    def add_event(self, name: str, attributes: Any = None, timestamp: int | None = None) -> None:
        """Keep the event."""
        self._told.append(lambda span: span.add_event(name, attributes, timestamp))

    def end(self, end_time: int | None = None) -> None:
        """Make the span, unless another one exists."""
        if self._watch.is_recorded or not self._is_open:
            return
        self._is_open = False
        span = self._start()
        for tell in self._told:
            tell(span)
        span.end(end_time)


# -- messages of smolagents' models in the form of the conventions -----------------------------------------------------

_READ: Final = frozenset({"messages", "tools_to_call_from", "model", "model_id"})
_ROLES = {"tool-call": "assistant", "tool-response": "tool"}


def messages_of(messages: Iterable[Any]) -> list[Part]:
    """Return ChatMessages, or dicts of their form, as messages with parts."""
    return [_message(each) for each in messages]


def answer_of(message: Any) -> list[Part]:
    """Return the answer of a model."""
    found = _message(message)
    reason = "tool_call" if any(part["type"] == "tool_call" for part in found["parts"]) else "stop"
    return [{**found, "finish_reason": reason}]


def usage_of(message: Any) -> dict[str, Any]:
    """Return tokens of a call, if the model reports them."""
    usage = getattr(message, "token_usage", None)
    if usage is None or not (usage.input_tokens or usage.output_tokens):
        return {}
    return {names.INPUT_TOKENS: usage.input_tokens, names.OUTPUT_TOKENS: usage.output_tokens}


def tool_definitions(tools: Iterable[Any]) -> list[Part]:
    """Return the tools of a model."""
    return [
        {
            "type": "function",
            "name": tool.name,
            "description": tool.description,
            "parameters": {"type": "object", "properties": told(getattr(tool, "inputs", None))},
        }
        for tool in tools
    ]


def parameters_of(model: Any, given: Mapping[str, Any]) -> Content:
    """Return the parameters of a call: its own, and its model's constant ones."""
    return parameters({**obj(getattr(model, "kwargs", None)), **given}, _READ)


def _message(message: Any) -> Part:
    fields = obj(message)

    def get(key: str) -> Any:
        return fields.get(key) if fields else getattr(message, key, None)

    role = str(getattr(get("role"), "value", get("role")))
    content = get("content")
    found = [parts.text(content)] if isinstance(content, str) and content else _blocks(content)
    for call in items(get("tool_calls")):
        name, arguments = call.function.name, call.function.arguments
        found.append(parts.tool_call(id=call.id, name=name, arguments=arguments))
    return {"role": _ROLES.get(role, role), "parts": found}


def _blocks(content: Any) -> list[Part]:
    return [part for block in objects(content) for part in _block(block)]


def _block(block: Object) -> list[Part]:
    picture: Any = block.get("image")
    if not hasattr(picture, "tobytes"):
        return content_parts([block])
    # A Pillow picture consists of pixels, and is not a file.
    told_of = {"width": picture.width, "height": picture.height}
    return [{**parts.blob(picture.tobytes(), "image", f"image/x-{str(picture.mode).lower()}"), **told_of}]


# -- attributes of the spans of agents, tools and models, during their work and at the end -----------------------------

_FINAL: Final = "FinalAnswerStep"
_DROPPED: Final = "generator ignored GeneratorExit"
"""Python's error when the app drops the steps, because smolagents' generator yields again after it is closed."""
_PLAIN: Final[frozenset[type]] = frozenset({str, int, float, bool, dict, list})
"""Types of results that are recorded unchanged."""


class _Scope(SpanScope):
    """One call. An external stop is not an error of it."""

    def _record_error(self, error: BaseException) -> None:
        record_ended(self.span, error, with_content=self.recorder.with_content)


class AgentScope(_Scope):
    """A run of an agent, whose steps may be read one by one."""

    def __init__(self, recorder: Recorder, span: Span, agent: Any) -> None:
        super().__init__(recorder, span)
        self._agent = agent
        self._is_read = False

    def produced(self, item: Any, /) -> None:
        """Record a step."""
        self._is_read = True
        if type(item).__name__ == _FINAL:
            guarded(self._record_answer, item.output)

    def _record(self, value: Any) -> None:
        if not self._is_read:  # otherwise, the last step contains it
            self._record_answer(getattr(value, "output", value))

    def _record_answer(self, output: Any) -> None:
        text = output if isinstance(output, str) else str(output)
        self.write(lambda: {names.OUTPUT_MESSAGES: parts.whole_message([parts.text(text)])})

    def _record_error(self, error: BaseException) -> None:
        interrupted = type(error).__name__ == "AgentError" and getattr(self._agent, "interrupt_switch", False)
        if interrupted or str(error) == _DROPPED:
            self.span.set_attribute(ours.OUTCOME, ours.CANCELLED if interrupted else ours.PARTIAL)
        else:
            super()._record_error(error)


def _result(value: Any) -> Content:
    return {names.TOOL_CALL_RESULT: value if type(value) in _PLAIN else str(value)}


class ModelScope(_Scope):
    """A model call, whose answer may be read in pieces."""

    def __init__(self, recorder: Recorder, span: Span, context: Context) -> None:
        super().__init__(recorder, span, context=context)
        self._pieces: list[Any] = []

    def produced(self, item: Any, /) -> None:
        """Record a piece of the answer."""
        if not self._pieces:
            guarded(self.span.set_attribute, names.STREAM, True)
        self._pieces.append(item)

    def _record(self, value: Any) -> None:
        if not self._pieces:
            self._record_message(value)
        else:
            self._record_pieces()

    def _record_error(self, error: BaseException) -> None:
        if self._pieces:
            guarded(self._record_pieces)
        super()._record_error(error)

    def _record_pieces(self) -> None:
        models: Any = import_module("smolagents.models")  # loaded: its generator was read
        self._record_message(models.agglomerate_stream_deltas(self._pieces))

    def _record_message(self, message: Any) -> None:
        self.span.set_attributes(usage_of(message))
        self.write(lambda: {names.OUTPUT_MESSAGES: answer_of(message)})


# -- spans around the agents, tools and models of smolagents, all of which run in the caller's thread ------------------


class ContextExecutor(ThreadPoolExecutor):
    """The executor that runs an agent's code with a time limit. It makes the code's tools part of the agent."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Submit in the submitter's context."""
        return super().submit(copy_context().run, fn, *args, **kwargs)


def begin_agent(recorder: Recorder, original: OriginalCall) -> AgentScope:
    """Open the span of `MultiStepAgent.run`. With `stream`, the steps are read inside it, and it ends with them."""
    agent = original.owner
    name = string(getattr(agent, "name", None)) or type(agent).__name__
    task = lambda: {names.INPUT_MESSAGES: parts.user_message([parts.text(str(original.arg(0, "task")))])}  # noqa: E731
    return AgentScope(recorder, recorder.start(name, agent_attributes(name), task), agent)


def begin_tool(recorder: Recorder, original: OriginalCall) -> SpanScope:
    """Open the span of `Tool.__call__`."""
    name = str(original.owner.name)
    given = lambda: {names.TOOL_CALL_ARGUMENTS: _given(original)}  # noqa: E731
    return _Scope(recorder, recorder.start(f"execute_tool {name}", tool(name), given), _result)


def _given(original: OriginalCall) -> dict[str, Any]:
    args = original.args
    given = dict(zip(list(obj(getattr(original.owner, "inputs", None))), args, strict=False))
    if len(args) == 1 and isinstance(args[0], dict):
        given = dict(obj(args[0]))
    return {**given, **{key: value for key, value in original.kwargs.items() if key != "sanitize_inputs_outputs"}}


def begin_own_model(recorder: Recorder, original: OriginalCall) -> ModelScope:
    """Open the span of a call of the app's own model class, unless the client that it uses makes one."""
    watch, context, begun_ns = CallWatch(), get_current(), time_ns()
    name, attributes = _described(recorder, original)

    def start() -> Span:
        return recorder.tracer.start_span(
            f"chat {name}", context, kind=SpanKind.CLIENT, attributes=attributes, start_time=begun_ns
        )

    return ModelScope(recorder, LateSpan(start, watch), with_watch(watch))


def begin_model(recorder: Recorder, original: OriginalCall) -> ModelScope:
    """Open the span of `generate` or `generate_stream` of a model whose client has no integration of ours."""
    is_taken(get_current())  # noted by the watch
    name, attributes = _described(recorder, original)
    attributes[names.PROVIDER] = "huggingface"
    span = recorder.tracer.start_span(f"chat {name}", kind=SpanKind.CLIENT, attributes=attributes)
    return ModelScope(recorder, span, with_llm_span(span))


def _described(recorder: Recorder, original: OriginalCall) -> tuple[str, dict[str, Any]]:
    model, kwargs = original.owner, original.kwargs
    name = string(getattr(model, "model_id", None)) or type(model).__name__
    attributes: dict[str, Any] = {ours.OPERATION_NAME: "chat", names.REQUEST_MODEL: name}
    if recorder.with_content:
        asked = original.arg(0, "messages")
        tools = tool_definitions(items(kwargs.get("tools_to_call_from")))
        said = {names.INPUT_MESSAGES: messages_of(items(asked)), names.TOOL_DEFINITIONS: tools}
        attributes |= encoded({**said, **parameters_of(model, kwargs)})
    return name, attributes


_MODELS: Final = ("InferenceClientModel", "TransformersModel", "VLLMModel", "MLXModel")
"""Models whose client no integration of ours records. For all others, the client makes the span of the call."""

Begin = Callable[[Recorder, OriginalCall], SpanScope]


class SmolagentsInstrumentor(Integration):
    """Runs of agents with their managed agents, tools and model calls, streamed or not.

    The client (openai, litellm, Bedrock) makes the span of a model call. If no recorded client makes the call, this
    integration makes the span: for models that run locally or at Hugging Face, and for the app's own models. See
    `Integration` for the options of `instrument()`.
    """

    library = "smolagents"
    hooked_modules = (
        "smolagents.agents",
        "smolagents.tools",
        "smolagents.models",
        "smolagents.local_python_executor",
    )

    def _hook(self, module: ModuleType) -> Iterable[Undoable]:
        if module.__name__ == "smolagents.agents":
            own = OwnModels(self._around(begin_own_model))
            yield own
            yield patch(module.MultiStepAgent, "run", self._around(begin_agent, own))
        elif module.__name__ == "smolagents.tools":
            yield patch(module.Tool, "__call__", self._around(begin_tool))
        elif module.__name__ == "smolagents.models":
            for owner in (getattr(module, name) for name in _MODELS):
                for method in ("generate", "generate_stream"):
                    if method in owner.__dict__:
                        yield patch(owner, method, self._around(begin_model))
        else:
            yield replace(module, "ThreadPoolExecutor", ContextExecutor)

    def _around(self, begin: Begin, own: OwnModels | None = None) -> Wrapper:
        def wrapper(original: OriginalCall) -> Any:
            if not self._lets_through(original.owner):
                return original()
            if own is not None:
                guarded(own.hook, getattr(original.owner, "model", None))
            scope = guarded(begin, self._recorder, original)
            return original() if scope is None else call_inside(scope, original)

        return wrapper
