"""OpenTelemetry spans for Semantic Kernel: around the runs of its agents and around the functions of its plugins."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from types import ModuleType
from typing import Any, Final

from opentelemetry.trace import INVALID_SPAN, NonRecordingSpan, Span, get_current_span

from pandaprobe_otel.mapping import attributes as ours
from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations import _parts as parts
from pandaprobe_otel_integrations._guard import guarded
from pandaprobe_otel_integrations._integration import Integration
from pandaprobe_otel_integrations._json import Content, items, obj, string
from pandaprobe_otel_integrations._model_call import Recorder
from pandaprobe_otel_integrations._patching import OriginalCall, Undoable, patch
from pandaprobe_otel_integrations._runs import plain as plain_value
from pandaprobe_otel_integrations._span_scope import SpanScope
from pandaprobe_otel_integrations._spans import adopt, scope_of, tool
from pandaprobe_otel_integrations._spans import agent as agent_attributes

__all__ = ["SemanticKernelInstrumentor"]


# -- the span of one function call: a plugin's function is a tool, and a prompt calls a model itself -------------------


def begin_function(recorder: Recorder, args: tuple[Any, ...], kwargs: dict[str, Any]) -> FunctionScope:
    """Start the span of `invoke(function, kernel, arguments, metadata, **more_arguments)`, or of its streamed form."""
    function = args[0]
    given = args[2] if len(args) > 2 else kwargs.get("arguments")
    call = obj(args[3] if len(args) > 3 else kwargs.get("metadata"))  # the model's id, or empty
    name = str(function.fully_qualified_name)
    given = kwargs if given is None else given
    if function.is_prompt and not call:
        attributes, asked, answered = {ours.KIND: "CHAIN"}, ours.INPUT, ours.OUTPUT
    else:
        name, attributes = f"execute_tool {name}", tool(name, string(call.get("id")))
        asked, answered = names.TOOL_CALL_ARGUMENTS, names.TOOL_CALL_RESULT
    span = recorder.start(name, attributes, lambda: _asked(asked, function, given))
    return FunctionScope(recorder, span, answered)


class FunctionScope(SpanScope):
    """A call, whose result is in the attribute `result`. If the function yields, the call lasts until it is read."""

    def __init__(self, recorder: Recorder, span: Any, result: str) -> None:
        super().__init__(recorder, span)
        self._result = result
        self._pieces: list[str] = []

    def produced(self, item: Any, /) -> None:
        """Record a part of the result, or the whole result."""
        if self.recorder.with_content:
            guarded(self._read, item)

    def _read(self, item: Any) -> None:
        pieces = items(item) if isinstance(item, list) else [item]  # a prompt yields one for each requested answer
        self._pieces.extend(map(str, pieces))

    def _record(self, value: Any) -> None:
        """Record the result. If the function yields, the value is None."""
        self.write(lambda: {self._result: "".join(self._pieces) if value is None else _plain(value)})


def _asked(name: str, function: Any, given: Mapping[str, Any]) -> Content:
    taken, more = _arguments(function, given)
    return {name: taken or "{}", ours.SPAN_METADATA: {"more_arguments": more} if more else None}


def _arguments(function: Any, given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the arguments for the function's parameters, and the kernel's other arguments."""
    known = {parameter.name for parameter in function.parameters}
    taken = {name: _described(value) for name, value in given.items() if name in known}
    return taken, {name: _described(value) for name, value in given.items() if name not in known}


def _plain(result: Any) -> Any:
    """Return the result of a function. For a prompt, return all requested answers, whose text is the result's text."""
    return str(result) if result.function.is_prompt else _described(result.value)


def _described(value: Any) -> Any:
    """Return the app's models and data classes by their fields, the library's own objects as text."""
    return plain_value(value, _own)


def _own(value: Any, _: Callable[[Any], Any]) -> Any:
    return str(value) if type(value).__module__.partition(".")[0] == "semantic_kernel" else value


# -- semantic Kernel's functions that open its own spans, for cases in which ours is already current -------------------

SCOPE: Final = "pandaprobe_otel.semantic_kernel"
"""The instrumentation scope of this integration's spans."""
_NO_SPAN: Final = nullcontext(INVALID_SPAN)
# -- the span of one run of an agent -----------------------------------------------------------------------------------


def begin_run(recorder: Recorder, args: tuple[Any, ...], kwargs: dict[str, Any]) -> RunScope:
    """Start the span, as a child of the current one: below the function call if the agent is another agent's tool."""
    agent, thread = args[0], kwargs.get("thread")
    name = string(agent.name) or type(agent).__name__
    attributes = {**agent_attributes(name), names.AGENT_ID: string(agent.id), names.CONVERSATION_ID: _id_of(thread)}
    asked = args[1] if len(args) > 1 else kwargs.get("messages")
    task = (lambda: {names.INPUT_MESSAGES: _task(asked)}) if asked else None
    span = recorder.start(name, attributes, task)
    return RunScope(recorder, span, thread)


class RunScope(SpanScope):
    """A run. A thread without an id gets one during the run. Without a thread, the run makes one."""

    def __init__(self, recorder: Recorder, span: Any, thread: Any) -> None:
        super().__init__(recorder, span)
        self._thread = thread
        self._said: list[str] = []

    def produced(self, item: Any, /) -> None:
        """Record an answer, or a piece of one."""
        guarded(self._read, item)

    def raised(self, error: BaseException, /) -> None:
        """Record that the run has failed, or that the app stops reading."""
        guarded(self._record, None)
        super().raised(error)

    def _read(self, item: Any) -> None:
        self._thread = item.thread
        if self.recorder.with_content:
            self._said.append(str(item.message))

    def _record(self, value: Any) -> None:
        """Record the agent's answer: this value, or the yielded pieces."""
        if value is not None:
            self._read(value)
        conversation = _id_of(self._thread)
        if conversation is not None:
            self.span.set_attribute(names.CONVERSATION_ID, conversation)
        self.write(lambda: {names.OUTPUT_MESSAGES: parts.said("".join(self._said))})


def _id_of(thread: Any) -> str | None:
    # The property `id` of a thread that is deleted raises.
    return None if thread is None or getattr(thread, "_is_deleted", False) else string(thread.id)


def _task(given: Any) -> list[dict[str, Any]]:
    """Return the task: a text, a message, or several of them."""
    return [_message(each) for each in (items(given) or [given])]


def _message(given: Any) -> dict[str, Any]:
    role = string(getattr(getattr(given, "role", None), "value", None)) or "user"
    return {"role": role, "parts": [parts.text(str(given))]}


_AGENT: Final = "semantic_kernel.agents.chat_completion.chat_completion_agent"
_AGENT_SPANS: Final = "semantic_kernel.utils.telemetry.agent_diagnostics.decorators"
_CHAT: Final = "semantic_kernel.connectors.ai.chat_completion_client_base"
_FUNCTION: Final = "semantic_kernel.functions.kernel_function"
_FUNCTION_SPANS: Final = "semantic_kernel.utils.telemetry.model_diagnostics.function_tracer"
_MODEL_SPANS: Final = "semantic_kernel.utils.telemetry.model_diagnostics.decorators"
"""Module and scope of the spans that Semantic Kernel makes of model calls if the app has turned them on."""


class SemanticKernelInstrumentor(Integration):
    """Runs of chat completion agents, agents that are tools of others, and functions of plugins, also streamed.

    The client (openai, anthropic, google_genai, ...) makes the span of a model call, or Semantic Kernel does if the
    app has turned its diagnostics on. Its own spans of agents, functions and the loop that calls them are left out,
    since they lack the session and, by default, content. A failing function is an error; the agent that goes on is
    not. The id of the thread is the session, unless the app sets one. See `Integration` for the options of
    `instrument()`.
    """

    library = "semantic_kernel"
    hooked_modules = (_AGENT, _AGENT_SPANS, _CHAT, _FUNCTION, _FUNCTION_SPANS, _MODEL_SPANS)

    def _hook(self, module: ModuleType) -> Iterable[Undoable]:
        if module.__name__ == _AGENT:
            for name in ("get_response", "invoke", "invoke_stream"):
                yield self._surround(module.ChatCompletionAgent, name, begin_run)
        elif module.__name__ == _FUNCTION:
            for name in ("invoke", "invoke_stream"):
                yield self._surround(module.KernelFunction, name, begin_function)
        elif module.__name__ == _CHAT:
            yield patch(module.ChatCompletionClientBase, "_start_auto_function_invocation_activity", self._loop)
        elif module.__name__ == _MODEL_SPANS:
            yield adopt(_MODEL_SPANS, is_on=self._is_on)
        elif module.__name__ == _AGENT_SPANS:
            yield patch(module, "_start_as_current_span", self._block)
        else:
            yield patch(module, "start_as_current_span", self._block)

    def _is_on(self) -> bool:
        return self._lets_through(None)

    # While this is on, the framework makes no span right below one of ours. An agent of a class that is not recorded
    # here, and a chat outside of an agent, keep theirs.

    def _block(self, original: OriginalCall) -> AbstractContextManager[Span]:
        """Wrap the opening of an agent's or a function's span, as a block."""
        return _NO_SPAN if self._is_below_ours() else original()

    def _loop(self, original: OriginalCall) -> Any:
        """Wrap the start of the span of the loop that calls functions until the model has an answer."""
        if not self._is_below_ours():
            return original()
        # The caller makes this span current and ends it. Spans below must be below our span, which must not end here.
        return NonRecordingSpan(get_current_span().get_span_context())

    def _is_below_ours(self) -> bool:
        return self._is_on() and scope_of(get_current_span()) == SCOPE
