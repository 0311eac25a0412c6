"""Additions to Pydantic AI's spans: parameters and messages that they leave out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from pandaprobe_otel_integrations import _parts as parts
from pandaprobe_otel_integrations._content import encoded
from pandaprobe_otel_integrations._guard import guarded
from pandaprobe_otel_integrations._other_members import parameters, rest
from pandaprobe_otel_integrations._shape import items, obj

_ATTRIBUTES: Final = frozenset(
    {"max_tokens", "top_p", "seed", "temperature", "presence_penalty", "frequency_penalty", "timeout"}
)
"""Settings for which the spans have attributes, and timeouts."""
_BINARY: Final = "BinaryContent"
_NOT_SENT: Final = "CachePoint"


class Beside:
    """Wrappers in wrapt's form. While `is_on` is False, they only pass calls on."""

    def __init__(self, *, is_on: Callable[[], bool]) -> None:
        self._is_on = is_on

    def settings(self, wrapped: Callable[..., Any], _: Any, args: Any, kwargs: Any) -> Any:
        """Wrap the attributes of a model's settings."""
        found: dict[str, Any] = wrapped(*args, **kwargs)
        given = args[0] if args else kwargs.get("model_settings")
        if self._is_on() and given:
            found.update(guarded(_parameters, given) or {})
        return found

    def embedding_settings(self, wrapped: Callable[..., Any], _: Any, args: Any, kwargs: Any) -> Any:
        """Wrap the settings of an embedding. The spans leave out the settings that go into the request's body."""
        found: dict[str, Any] = wrapped(*args, **kwargs)
        given = obj(args[0] if args else kwargs.get("settings"))
        more = rest({"extra_body": given.get("extra_body")}, frozenset()) if self._is_on() else {}
        return {**found, **more}

    def prompt(self, wrapped: Callable[..., Any], part: Any, args: Any, kwargs: Any) -> Any:
        """Wrap the parts of a question."""
        found: list[Any] = wrapped(*args, **kwargs)
        return (guarded(_with_rest, part.content, found) or found) if self._is_on() else found

    def binary_part(self, wrapped: Callable[..., Any], _: Any, args: Any, kwargs: Any) -> Any:
        """Wrap the function that describes binary content in a message. The span has only the content's media type."""
        found: dict[str, Any] = wrapped(*args, **kwargs)
        if self._is_on() and len(args) > 1 and callable(args[1]) and "content" not in found:
            found.update(guarded(_digest_of_text, args[1]) or {})
        return found

    def redacted(self, wrapped: Callable[..., Any], _: Any, args: Any, kwargs: Any) -> Any:
        """Wrap a tool's value, from which binary content is removed."""
        found: Any = wrapped(*args, **kwargs)
        if self._is_on() and _is_binary(args[0]):
            return {**obj(found), **(guarded(_digest, args[0].data) or {})}
        return found


def _is_binary(value: Any) -> bool:
    return any(base.__name__ == _BINARY for base in type(value).__mro__)


def _parameters(settings: Any) -> dict[str, str]:
    return encoded(parameters(obj(settings), _ATTRIBUTES))


def _digest_of_text(base64_content: Callable[[], str]) -> dict[str, Any]:
    found = parts.base64_blob(base64_content(), "file", None)
    return {name: found[name] for name in ("bytes", "sha256")}


def _digest(data: bytes) -> dict[str, Any]:
    found = parts.blob(data, "file", None)
    return {name: found[name] for name in ("bytes", "sha256")}


def _with_rest(content: Any, found: list[Any]) -> list[Any]:
    given = [each for each in items(content) if type(each).__name__ != _NOT_SENT]
    if len(given) != len(found):
        return found
    return [{**_rest(each), **obj(part)} for each, part in zip(given, found, strict=True)]


def _rest(given: Any) -> dict[str, Any]:
    return rest({name: getattr(given, name, None) for name in ("metadata", "vendor_metadata")}, frozenset())
