"""A model's input, and the time of its first token. The SDK's spans have the input only for successful calls."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextvars import ContextVar
from time import time_ns
from typing import Any, Final

from opentelemetry.trace import Span

from pandaprobe_otel.mapping import attributes as ours
from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations._guard import guarded
from pandaprobe_otel_integrations._parts import Part
from pandaprobe_otel_integrations._shape import items, string
from pandaprobe_otel_integrations._streams.items import MAX_ITEMS

_ARGUMENTS: Final = (
    "system_instructions",
    "input",
    "model_settings",
    "tools",
    "output_schema",
    "handoffs",
    "tracing",
    "previous_response_id",
    "conversation_id",
)
"""Arguments of `Model.get_response` and `Model.stream_response`, in their order."""
_SETTINGS: Final = ("temperature", "top_p", "frequency_penalty", "presence_penalty", "reasoning", "top_logprobs")
_MORE_SETTINGS: Final = ("tool_choice", "parallel_tool_calls", "truncation", "metadata", "store")
"""Settings that may contain content, and that a service may leave out of its response."""
_PREPARATIONS: Final = frozenset({"response.created", "response.queued", "response.in_progress"})


class ModelRequest:
    """One call of the SDK's model."""

    __slots__ = ("_arguments", "_model", "_span", "events")

    def __init__(self, model: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        self._model = model
        self._arguments = {**dict(zip(_ARGUMENTS, args, strict=False)), **kwargs}
        self._span: Span | None = None
        self.events: list[Any] = []
        """Events of a streamed answer that the app has read; the SDK's span has nothing of an answer that is left."""

    def recorded_by(self, span: Span) -> None:
        """Keep our span for the SDK's span of the call, which has started."""
        self._span = span

    def answers(self) -> None:
        """Record the time of the first token."""
        if self._span is not None:
            self._span.set_attributes({names.STREAM: True, ours.COMPLETION_START_TIME: time_ns()})

    @property
    def with_content(self) -> bool:
        """Return whether the app lets the SDK record content (`trace_include_sensitive_data`)."""
        tracing = self._arguments.get("tracing")
        return bool(tracing is None or tracing.include_data())

    def tools(self) -> list[Part]:
        """Return the tools and hand-offs that the model may choose."""
        handed = items(self._get("handoffs"))
        return [
            *map(_tool, items(self._get("tools"))),
            *(_function(each, "tool_name", "tool_description", "input_json_schema") for each in handed),
        ]

    def body(self) -> dict[str, Any]:
        """Return the call as a request of the Responses API, without content if the app wants none."""
        settings = self._get("model_settings")
        found = {name: getattr(settings, name, None) for name in _SETTINGS}
        found |= {
            "model": string(getattr(self._model, "model", None)),
            "max_output_tokens": getattr(settings, "max_tokens", None),
            "previous_response_id": self._get("previous_response_id"),
            "conversation": self._get("conversation_id"),
        }
        if self.with_content:
            found |= {"instructions": self._get("system_instructions"), "input": self._get("input")}
            found["tools"] = self.tools()
            found |= {name: getattr(settings, name, None) for name in _MORE_SETTINGS}
        return {name: value for name, value in found.items() if value is not None}

    def _get(self, name: str) -> Any:
        return self._arguments.get(name)


_NEXT: Final[ContextVar[ModelRequest | None]] = ContextVar("pandaprobe_openai_agents_request", default=None)
"""The call whose span the SDK starts next."""


def request_that_begins() -> ModelRequest | None:
    """Take the call whose span the SDK has just started, so that no other span gets it."""
    found = _NEXT.get()
    if found is not None:
        _NEXT.set(None)
    return found


class ModelHooks:
    """Wrappers in wrapt's form of the methods of the SDK's `Model`. While `is_on` is False, they only pass calls on."""

    def __init__(self, is_on: Callable[[], bool]) -> None:
        self._is_on = is_on

    def get_response(self, wrapped: Callable[..., Any], model: Any, args: Any, kwargs: Any) -> Any:
        """Wrap a call that is awaited."""
        call = wrapped(*args, **kwargs)
        return _awaited(call, ModelRequest(model, args, kwargs)) if self._is_on() else call

    def stream_response(self, wrapped: Callable[..., Any], model: Any, args: Any, kwargs: Any) -> Any:
        """Wrap a call that is read event by event."""
        events = wrapped(*args, **kwargs)
        return _read(events, ModelRequest(model, args, kwargs)) if self._is_on() else events


async def _awaited(call: Any, request: ModelRequest) -> Any:
    _NEXT.set(request)
    try:
        return await call
    finally:
        _NEXT.set(None)


async def _read(events: AsyncGenerator[Any, None], request: ModelRequest) -> AsyncGenerator[Any, None]:
    answers = False
    _NEXT.set(request)
    try:
        async for event in events:
            if not answers and getattr(event, "type", None) not in _PREPARATIONS:
                answers = True
                guarded(request.answers)
            if len(request.events) < MAX_ITEMS:
                request.events.append(event)
            yield event
    finally:
        request_that_begins()  # nobody has asked for it
        await events.aclose()


def _function(tool: Any, *names_of_fields: str) -> Part:
    name, description, parameters = (getattr(tool, each, None) for each in names_of_fields)
    return {"type": "function", "name": name, "description": description, "parameters": parameters}


def _tool(tool: Any) -> Part:
    if hasattr(tool, "params_json_schema"):
        return _function(tool, "name", "description", "params_json_schema")
    return {"type": str(getattr(tool, "name", type(tool).__name__))}  # a tool that the service runs itself
