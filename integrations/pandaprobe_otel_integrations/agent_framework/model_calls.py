"""Additions to Agent Framework's spans of model calls: parameters, embedded texts, and other data of messages."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any, Final

from pandaprobe_otel.mapping import attributes as ours
from pandaprobe_otel_integrations._content import encoded
from pandaprobe_otel_integrations._guard import guarded
from pandaprobe_otel_integrations._other_members import is_empty, parameters, rest
from pandaprobe_otel_integrations._shape import Object, items, obj

_NAMED: Final = frozenset(
    {"temperature", "top_p", "max_tokens", "stop", "seed", "frequency_penalty", "presence_penalty", "top_k", "model"}
)
"""Options for which the framework has attributes, but only on agents."""
_TOLD: Final = _NAMED | {"tools", "instructions", "conversation_id", "encoding_formats"}
_OF_PARTS: Final = frozenset(
    {"type", "text", "uri", "media_type", "call_id", "id", "name", "arguments", "result", "items", "usage_details"}
)
_MACHINERY: Final = frozenset({"raw_representation", "protected_data", "merge_mode", "message_id", "status"})
_OF_MESSAGES: Final = frozenset({"type", "role", "contents", "author_name"}) | _MACHINERY
_WHOLE: Final = frozenset({"text", "text_reasoning", "uri", "data", "function_call", "function_result"})
"""Kinds of content that the framework records only in part. It records all other kinds completely."""

_CALL: Final[ContextVar[Mapping[str, Any] | None]] = ContextVar("pandaprobe_agent_framework_call", default=None)
"""The arguments of the model call whose span is opened next."""


_STREAMED: Final[ContextVar[Any]] = ContextVar("pandaprobe_agent_framework_stream", default=None)
"""The span of the stream that is being opened."""


def marked_when_left(call: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    """Return what `call` returns. If that is a stream which the app forgets, its span is marked as partial.

    The framework ends the span of a forgotten stream in a finalizer. A finalizer that is made later runs earlier.
    """
    token = _STREAMED.set(None)
    try:
        result = call(*args, **kwargs)
        span = _STREAMED.get()
    finally:
        _STREAMED.reset(token)
    if span is not None:
        guarded(weakref.finalize, result, _left, span)
    return result


def _left(span: Any) -> None:
    if span.is_recording():
        span.set_attribute(ours.OUTCOME, ours.PARTIAL)


class ModelCalls:
    """Wrappers in wrapt's form. While `is_on` is False, they only pass calls on.

    `with_content` is the framework's switch.
    """

    def __init__(self, *, is_on: Callable[[], bool], with_content: Callable[[], bool]) -> None:
        self._is_on = is_on
        self._with_content = with_content

    def chat(self, wrapped: Callable[..., Any], _: Any, args: Any, kwargs: Any) -> Any:
        """Wrap a model call, which opens its span before it returns something to await or read."""
        if not self._is_on():
            return wrapped(*args, **kwargs)
        token = _CALL.set({"options": kwargs.get("options")})
        try:
            return marked_when_left(wrapped, args, kwargs)
        finally:
            _CALL.reset(token)

    def stream_begins(self, wrapped: Callable[..., Any], _: Any, args: Any, kwargs: Any) -> Any:
        """Wrap the start of a stream's span."""
        span = wrapped(*args, **kwargs)
        if self._is_on():
            _STREAMED.set(span)
        return span

    def embedding(self, wrapped: Callable[..., Any], _: Any, args: Any, kwargs: Any) -> Any:
        """Wrap an embedding of texts."""
        if not self._is_on():
            return wrapped(*args, **kwargs)
        return _embedded(wrapped, args, kwargs)

    def attributes(self, wrapped: Callable[..., Any], _: Any, args: Any, kwargs: Any) -> Any:
        """Wrap the function that describes a span."""
        call = _CALL.get() if self._is_on() else None
        if call is None or kwargs.get("operation_name") not in ("chat", "embeddings"):
            return wrapped(*args, **kwargs)
        _CALL.set(None)  # they belong to this span alone
        options = obj(call.get("options"))
        named = {name: value for name, value in options.items() if name in _NAMED or name == "tools"}
        found: dict[str, Any] = wrapped(*args, **{**kwargs, "all_options": named})
        if self._with_content():
            found |= encoded(guarded(_content, options, call.get("values")) or {})
        return found

    def message(self, wrapped: Callable[..., Any], _: Any, args: Any, kwargs: Any) -> Any:
        """Wrap the conversion of a message to the conventions' form."""
        return self._with_rest(wrapped, args, kwargs, _rest_of_message)

    def part(self, wrapped: Callable[..., Any], _: Any, args: Any, kwargs: Any) -> Any:
        """Wrap the conversion of a part of a message."""
        return self._with_rest(wrapped, args, kwargs, _rest_of_part)

    def _with_rest(
        self, wrapped: Callable[..., Any], args: Any, kwargs: Any, beside: Callable[[Any], Mapping[str, Any]]
    ) -> Any:
        found: Any = wrapped(*args, **kwargs)
        if not self._is_on() or not args or not obj(found):
            return found
        return {**(guarded(beside, args[0]) or {}), **obj(found)}


async def _embedded(wrapped: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    values: Any = args[0] if args else kwargs.get("values")
    token = _CALL.set({"options": kwargs.get("options"), "values": values})
    try:
        return await wrapped(*args, **kwargs)
    finally:
        _CALL.reset(token)


def _content(options: Object, values: Any) -> dict[str, Any]:
    return {**parameters(options, _TOLD), **({ours.INPUT: items(values) or values} if values else {})}


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
