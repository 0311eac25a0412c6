"""OpenTelemetry spans for smolagents, from patches of its agents, tools and models."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from importlib import import_module
from time import time_ns
from types import ModuleType
from typing import Any, Final

from opentelemetry.context import get_current
from opentelemetry.trace import INVALID_SPAN, Span, SpanKind

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
from pandaprobe_otel_integrations._spans import CallWatch, is_taken, present, tool, with_watch
from pandaprobe_otel_integrations._spans import agent as agent_attributes

__all__ = ["SmolagentsInstrumentor"]


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


class AgentScope(SpanScope):
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


class ModelScope(SpanScope):
    """A model call, whose answer may be read in pieces. Its span is made at its end if nobody else has made one."""

    def __init__(self, recorder: Recorder, start: Callable[[], Span], watch: CallWatch) -> None:
        super().__init__(recorder, INVALID_SPAN, context=with_watch(watch))
        self._start = start
        self._watch = watch
        self._pieces: list[Any] = []
        self._first_ns = 0

    def produced(self, item: Any, /) -> None:
        """Keep a piece of the answer, and the time of the first one."""
        self._first_ns = self._first_ns or time_ns()
        self._pieces.append(item)

    def returned(self, value: Any, /) -> None:
        """Record the call, unless another span has."""
        if self._makes_span():
            super().returned(value)

    def raised(self, error: BaseException, /) -> None:
        """Record the failed call, unless another span has."""
        if self._makes_span():
            if self._pieces:
                guarded(self._record, None)
            super().raised(error)

    def _makes_span(self) -> bool:
        if self.span is INVALID_SPAN and not self._watch.is_recorded:
            self.span = self._start()
        return self.span is not INVALID_SPAN

    def _record(self, value: Any) -> None:
        if self._pieces:
            self.span.set_attributes({names.STREAM: True, ours.COMPLETION_START_TIME: self._first_ns})
            models: Any = import_module("smolagents.models")  # loaded: its generator was read
            value = models.agglomerate_stream_deltas(self._pieces)
        self.span.set_attributes(usage_of(value))
        self.write(lambda: {names.OUTPUT_MESSAGES: answer_of(value)})


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
    return SpanScope(recorder, recorder.start(f"execute_tool {name}", tool(name), given), _result)


def _given(original: OriginalCall) -> dict[str, Any]:
    args = original.args
    given = dict(zip(list(obj(getattr(original.owner, "inputs", None))), args, strict=False))
    if len(args) == 1 and isinstance(args[0], dict):
        given = dict(obj(args[0]))
    return {**given, **{key: value for key, value in original.kwargs.items() if key != "sanitize_inputs_outputs"}}


def begin_own_model(recorder: Recorder, original: OriginalCall, provider: str | None = None) -> ModelScope:
    """Begin a call of the app's own model class, whose span the client that it uses may make."""
    context, begun_ns = get_current(), time_ns()
    name, attributes = _described(recorder, original)

    def start() -> Span:
        found = present({**attributes, names.PROVIDER: provider})
        return recorder.tracer.start_span(
            f"chat {name}", context, kind=SpanKind.CLIENT, attributes=found, start_time=begun_ns
        )

    return ModelScope(recorder, start, CallWatch())


def begin_model(recorder: Recorder, original: OriginalCall) -> ModelScope:
    """Begin `generate` or `generate_stream` of a model whose client has no integration of ours."""
    is_taken(get_current())  # noted by the watch of the app's own class around it
    return begin_own_model(recorder, original, "huggingface")


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

_METHODS: Final = ("generate", "generate_stream")
_LIBRARY: Final = "smolagents."

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
            yield patch(module.MultiStepAgent, "run", self._around(begin_agent, self._hook_own))
        elif module.__name__ == "smolagents.tools":
            yield patch(module.Tool, "__call__", self._around(begin_tool))
        elif module.__name__ == "smolagents.models":
            for owner in (getattr(module, name) for name in _MODELS):
                for method in _METHODS:
                    if method in owner.__dict__:
                        yield patch(owner, method, self._around(begin_model))
        else:
            yield replace(module, "ThreadPoolExecutor", ContextExecutor)

    def _hook_own(self, agent: Any) -> None:
        """Hook the class of an agent's model, if it is the app's own."""
        owners = [
            owner
            for owner in type(getattr(agent, "model", None)).__mro__
            if not f"{owner.__module__}.".startswith(_LIBRARY) and any(name in owner.__dict__ for name in _METHODS)
        ]
        with self._lock:
            for owner in owners[:1]:  # methods of its base classes are part of its call
                if self._open and not any(isinstance(each, Patch) and each.owner is owner for each in self._patches):
                    around = self._around(begin_own_model)
                    self._patches += [patch(owner, name, around) for name in _METHODS if name in owner.__dict__]

    def _around(self, begin: Begin, prepare: Callable[[Any], object] | None = None) -> Wrapper:
        def wrapper(original: OriginalCall) -> Any:
            if not self._lets_through(original.owner):
                return original()
            if prepare is not None:
                guarded(prepare, original.owner)
            scope = guarded(begin, self._recorder, original)
            return original() if scope is None else call_inside(scope, original)

        return wrapper
