"""Additions to the spans that Microsoft's Agent Framework makes."""

from __future__ import annotations

import os
import sys
import weakref
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, fields
from itertools import groupby
from types import ModuleType
from typing import Any, Final, Self

from opentelemetry import trace
from opentelemetry.trace import get_current_span

from pandaprobe_otel.mapping import attributes as ours
from pandaprobe_otel_integrations import _parts as parts
from pandaprobe_otel_integrations._guard import guarded
from pandaprobe_otel_integrations._integration import Integration
from pandaprobe_otel_integrations._json import encoded, items, obj
from pandaprobe_otel_integrations._other_members import is_empty, parameters, rest
from pandaprobe_otel_integrations._parts import Part
from pandaprobe_otel_integrations._patching import OriginalCall, Undoable, patch
from pandaprobe_otel_integrations._runs import plain as plain_value
from pandaprobe_otel_integrations._spans import adopt

__all__ = ["AgentFrameworkInstrumentor"]


# -- agent Framework's setting for messages in its spans ---------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class ContentSwitch:
    """The setting `enable_sensitive_data`, and its earlier value."""

    settings: Any
    was: bool

    @classmethod
    def on(cls, settings: Any) -> Self:
        """Turn the setting on, unless the app has turned Agent Framework's telemetry off as a whole."""
        switch = cls(settings=settings, was=bool(settings.enable_sensitive_data))
        if not settings.is_user_disabled:
            settings.enable_sensitive_data = True
        return switch

    def undo(self) -> None:
        """Restore the setting."""
        if not self.settings.is_user_disabled:
            self.settings.enable_sensitive_data = self.was


# -- additions to Agent Framework's spans of model calls: parameters, embedded texts, and other data of messages -------

_NAMED: Final = frozenset(
    {"temperature", "top_p", "max_tokens", "stop", "seed", "frequency_penalty", "presence_penalty", "top_k", "model"}
)
"""Options for which the framework has attributes, but only on agents."""
_TOLD: Final = _NAMED | {"tools", "instructions", "conversation_id", "encoding_formats"}
_OF_PARTS: Final = frozenset(
    {"type", "text", "uri", "media_type", "call_id", "id", "name", "arguments", "result", "items", "usage_details"}
)
_MACHINERY: Final = frozenset({"raw_representation", "protected_data", "merge_mode", "message_id", "status"})
_WHOLE: Final = frozenset({"text", "text_reasoning", "uri", "data", "function_call", "function_result"})
"""Kinds of content that the framework records only in part. It records all other kinds completely."""

_CALL: Final[ContextVar[Mapping[str, Any] | None]] = ContextVar("pandaprobe_agent_framework_call", default=None)
"""The arguments of the model call whose span is opened next."""


_STREAMED: Final[ContextVar[Any]] = ContextVar("pandaprobe_agent_framework_stream", default=None)
"""The span of the stream that is being opened."""


def _stream_begins(span: Any, _: OriginalCall) -> None:
    _STREAMED.set(span)


def marked_when_left(original: OriginalCall) -> Any:
    """Return what the call returns. If that is a stream which the app forgets, its span is marked as partial.

    The framework ends the span of a forgotten stream in a finalizer. A finalizer that is made later runs earlier.
    """
    token = _STREAMED.set(None)
    try:
        result = original()
        span = _STREAMED.get()
    finally:
        _STREAMED.reset(token)
    if span is not None:
        guarded(weakref.finalize, result, _left, span)
    return result


def _left(span: Any) -> None:
    if span.is_recording():
        span.set_attribute(ours.OUTCOME, ours.PARTIAL)


def _asked(original: OriginalCall) -> Any:
    """Make a model call, which opens its span before it returns something to await or read."""
    token = _CALL.set({"options": original.kwargs.get("options")})
    try:
        return marked_when_left(original)
    finally:
        _CALL.reset(token)


async def _embedded(original: OriginalCall) -> Any:
    """Embed texts."""
    values: Any = original.arg(0, "values")
    token = _CALL.set({"options": original.kwargs.get("options"), "values": values})
    try:
        return await original()
    finally:
        _CALL.reset(token)


def _described(original: OriginalCall) -> Any:
    """Describe the span of a call with the parameters for which the framework has attributes only on agents."""
    call = _CALL.get()
    if call is None or original.kwargs.get("operation_name") not in ("chat", "embeddings"):
        return original()
    _CALL.set(None)  # they belong to this span alone
    options, values = obj(call.get("options")), call.get("values")
    named = {name: value for name, value in options.items() if name in _NAMED or name == "tools"}
    found: dict[str, Any] = original.replacing(all_options=named)
    if _says_messages():
        content = {**(guarded(parameters, options, _TOLD) or {}), ours.INPUT: items(values) or values}
        found |= guarded(encoded, content) or {}
    return found


def _with_rest(beside: Callable[[Any], Mapping[str, Any]]) -> Callable[[Any, OriginalCall], Any]:
    """Return what adds other data to a converted message or part."""
    return lambda found, original: {**beside(original.args[0]), **obj(found)} if obj(found) else None


def _rest_of_message(message: Any) -> Mapping[str, Any]:
    name = getattr(message, "author_name", None)
    more = rest({"additional_properties": _without_empty(getattr(message, "additional_properties", None))}, frozenset())
    return {**more, **({"name": str(name)} if name else {})}


def _rest_of_part(content: Any) -> Mapping[str, Any]:
    if str(content.type) not in _WHOLE:
        return {}
    members = obj(_without_empty(content.to_dict(exclude_none=True)))
    # A tool's data that accompanies its texts is recorded unchanged; its texts are the result.
    more = [each for each in items(members.get("items")) if obj(each).get("type") != "text"]
    return {**rest(members, _OF_PARTS | _MACHINERY), **rest({"items": more}, frozenset())}


def _without_empty(value: Any) -> Any:
    """Return the value without empty members, at any depth."""
    if isinstance(value, Mapping):
        kept = {name: _without_empty(item) for name, item in obj(value).items()}  # pyright: ignore[reportUnknownArgumentType]
        return {name: item for name, item in kept.items() if not is_empty(item)}
    return [_without_empty(each) for each in items(value)] if isinstance(value, list) else value


# -- values in a workflow of Agent Framework as plain data: messages with parts, data classes by their fields ----------

_ANSWERS: Final = frozenset({"AgentResponse", "AgentResponseUpdate"})
_OF_FRAMEWORK: Final = "agent_framework"


def plain(value: Any) -> Any:
    """Return the value in a JSON form."""
    return plain_value(value, _own)


def _own(value: Any, inside: Callable[[Any], Any]) -> Any:
    if isinstance(value, (list, tuple)):
        return as_messages(items(value)) or value  # pyright: ignore[reportUnknownVariableType]
    if _kind(value) == "AgentExecutorResponse":
        given = {each.name: getattr(value, each.name, None) for each in fields(value)}
        answer = given.pop("agent_response", None)  # the end of the conversation
        said = items(given.pop("full_conversation", None)) or items(getattr(answer, "messages", None))
        return {"messages": [_message(each) for each in said], **given}
    return as_messages([value]) or value


def handed_on(values: Sequence[Any]) -> Any:
    """Return the output of an executor or a run: one value unchanged, several messages as one conversation.

    An agent's answer is left out if the agent also passes on a conversation that ends with it.
    """
    told = [value for value in values if _kind(value) not in _ANSWERS]
    if not any(_kind(value) == "AgentExecutorResponse" for value in told):
        told = [*values]
    return as_messages(told) or (plain(told[0]) if len(told) == 1 else plain(told))


def as_messages(values: Sequence[Any]) -> dict[str, Any] | None:
    """Return all values as messages, if each is a message or an agent's answer. A streamed answer is one message."""
    found: list[Part] = []
    for kind, grouped in groupby(values, _kind):
        group = list(grouped)
        if kind == "Message":
            found += map(_message, group)
        elif kind in _ANSWERS:
            answers = group if kind == "AgentResponse" else [_joined(group)]
            found += [_message(each) for answer in answers for each in items(answer.messages)]
        else:
            return None
    return {"messages": found} if found else None


def _joined(pieces: list[Any]) -> Any:
    """Return the answers that these pieces belong to, joined as the framework does."""
    return sys.modules[_OF_FRAMEWORK].AgentResponse.from_updates(pieces)


def _message(message: Any) -> Part:
    found: Part = {"role": str(message.role), "parts": _parts(message)}
    name = getattr(message, "author_name", None)
    return {**found, "name": str(name)} if name else found


def _parts(message: Any) -> list[Part]:
    """Return the parts of a message, without its costs, which are on the model call."""
    return [_part(each) for each in items(message.contents) if str(each.type) != "usage"]


def _part(content: Any) -> Part:
    kind = str(content.type)
    if kind == "text":
        return parts.text(str(content.text or ""))
    if kind == "text_reasoning":
        return parts.reasoning(str(content.text or ""))
    if kind == "function_call":
        return parts.tool_call(id=content.call_id, name=content.name, arguments=content.arguments)
    if kind == "function_result":
        return parts.tool_response(id=content.call_id, response=content.result)
    if kind in ("uri", "data") and content.uri:
        return parts.media(str(content.uri), str(content.media_type or "").partition("/")[0] or "file")
    return dict(content.to_dict(exclude_none=True))


def _kind(value: Any) -> str:
    """Return the name of the framework's class that the value's class is or derives from; empty if there is none."""
    return next((each.__name__ for each in type(value).__mro__ if each.__module__.startswith(_OF_FRAMEWORK)), "")


# -- additions to Agent Framework's spans of workflows: inputs and outputs of runs and executors -----------------------

_RUN: Final = "workflow.run"
_STEP: Final = "executor.process"
_NAME: Final = "workflow.name"


class WorkflowRun:
    """One run, with its outputs so far."""

    def __init__(self, span: Any, outer: WorkflowRun | None) -> None:
        self.span = span
        self.outer = outer
        self.yielded: list[Any] = []

    def __call__(self) -> WorkflowRun | None:
        """Return this run, or the run around it if this one is over."""
        run: WorkflowRun | None = self
        while run is not None and not run.span.is_recording():
            run = run.outer
        return run


_CURRENT: Final[ContextVar[WorkflowRun | None]] = ContextVar("pandaprobe_agent_framework_run", default=None)
"""The run that the code belongs to. Executors work in tasks of a run."""


def _current() -> WorkflowRun | None:
    run = _CURRENT.get()
    return None if run is None else run()


class ReportingTracer:
    """Agent Framework's tracer, which also reports the runs that it starts."""

    def __init__(self, tracer: Any) -> None:
        self._tracer = tracer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tracer, name)

    def start_span(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """Start a span as OpenTelemetry's tracer does."""
        span = self._tracer.start_span(name, *args, **kwargs)
        if name == _RUN and span.is_recording():
            guarded(_run_begins, span)
        return span

    def start_as_current_span(self, name: str, *args: Any, **kwargs: Any) -> AbstractContextManager[Any]:
        """Start a current span as OpenTelemetry's tracer does. Older versions make a run's span with this method."""
        block: AbstractContextManager[Any] = self._tracer.start_as_current_span(name, *args, **kwargs)
        return _of_run(block) if name == _RUN else block


@contextmanager
def _of_run(block: AbstractContextManager[Any]) -> Generator[Any]:
    with block as span:
        if span.is_recording():
            guarded(_run_begins, span)
        yield span


def _event_added(event: Any) -> None:
    """Record an event; all events of a run pass here, in the context of their executor."""
    kind, run = str(event.type), _current()
    if kind == "output" and run is not None:
        run.yielded.append(event.data)
    span: Any = get_current_span()
    if not kind.startswith("executor_") or not span.is_recording() or not span.name.startswith(_STEP):
        return
    span.set_attribute(ours.KIND, "CHAIN")
    if not _says_messages():
        return
    if kind == "executor_invoked":
        span.set_attributes(encoded({ours.INPUT: plain(event.data)}))
    elif kind == "executor_completed":
        span.set_attributes(encoded({ours.OUTPUT: handed_on(event.data or [])}))
        if run is not None and run.yielded:
            run.span.set_attributes(encoded({ours.OUTPUT: handed_on(run.yielded)}))


def _run_begins(span: Any) -> None:
    span.set_attribute(ours.KIND, "CHAIN")
    name = span.attributes.get(_NAME)
    if name and span.parent is None and ours.TRACE_NAME not in span.attributes:
        span.set_attribute(ours.TRACE_NAME, name)
    _CURRENT.set(WorkflowRun(span, _current()))


def _run_is_given(message: Any, *_: Any, **__: Any) -> None:
    """Record the input of a run, which is that of its first executor."""
    span: Any = get_current_span()
    if _says_messages() and span.is_recording() and span.name == _RUN and ours.INPUT not in span.attributes:
        span.set_attributes(encoded({ours.INPUT: plain(getattr(message, "data", message))}))


_SCOPE: Final = "agent_framework"
_EXECUTORS: Final = "agent_framework._workflows._executor"
_EVENTS: Final = "agent_framework._workflows._runner_context"
_CONTENT_VARIABLE: Final = "ENABLE_SENSITIVE_DATA"
"""Agent Framework's own switch for messages in spans."""


def _says_messages() -> bool:
    """Return whether Agent Framework puts messages into spans. Its module is loaded when it runs."""
    return bool(sys.modules["agent_framework.observability"].OBSERVABILITY_SETTINGS.SENSITIVE_DATA_ENABLED)


class AgentFrameworkInstrumentor(Integration):
    """Runs of agents with their model calls and tools, and workflows, in the spans that Agent Framework makes itself.

    This adds the session, the messages (also those of workflows) and the parameters of model calls, unless the app sets
    ENABLE_SENSITIVE_DATA or turns telemetry off. The model's client makes no second span. See `Integration` for the
    options of `instrument()`.
    """

    library = "agent_framework"
    makes_own_spans = True
    hooked_modules = ("agent_framework.observability", _EXECUTORS, _EVENTS)

    def _hook(self, module: ModuleType) -> Iterable[Undoable]:
        if module.__name__ == _EXECUTORS:
            yield self._before(module.Executor, "execute", _run_is_given)
        elif module.__name__ == _EVENTS:
            yield self._before(module.InProcRunnerContext, "add_event", _event_added)
        else:
            yield from self._hook_spans(module)

    def _hook_spans(self, module: ModuleType) -> Iterable[Undoable]:
        yield adopt(_SCOPE, is_on=self._is_on)
        if self._recorder.with_content and _CONTENT_VARIABLE not in os.environ:
            yield ContentSwitch.on(module.OBSERVABILITY_SETTINGS)
        if self._tracer_provider is not None and self._tracer_provider is not trace.get_tracer_provider():
            yield patch(module, "get_tracer", self._get_tracer)
        with_conversation = module._use_telemetry_conversation_id

        def agent_begins(original: OriginalCall) -> Any:
            """Wrap the function that starts a run's span. Its result is awaited or read later."""
            session: Any = getattr(original.kwargs.get("session"), "session_id", None)
            if not self._open:
                return original()
            if not session or module._TELEMETRY_CONVERSATION_ID.get() is not None:
                return marked_when_left(original)
            with with_conversation(str(session)):
                return marked_when_left(original)

        yield patch(module.AgentTelemetryLayer, "_trace_agent_invocation", agent_begins)
        yield self._after(module, "workflow_tracer", lambda tracer, _: ReportingTracer(tracer))
        for owner, name, replacement in (
            (module, "_get_span_attributes", _described),
            (module.ChatTelemetryLayer, "get_response", _asked),
            (module.EmbeddingTelemetryLayer, "get_embeddings", _embedded),
        ):
            yield self._instead(owner, name, replacement)
        for name, add in (
            ("_start_streaming_span", _stream_begins),
            ("_to_otel_message_latest_experimental", _with_rest(_rest_of_message)),
            ("_to_otel_part_latest_experimental", _with_rest(_rest_of_part)),
        ):
            if hasattr(module, name):
                yield self._after(module, name, add)

    def _instead(self, owner: Any, name: str, replacement: Callable[[OriginalCall], Any]) -> Undoable:
        return patch(owner, name, lambda original: replacement(original) if self._open else original())

    def _get_tracer(self, original: OriginalCall) -> Any:
        if not self._open:
            return original()
        return self._tracer_provider.get_tracer(_SCOPE)
