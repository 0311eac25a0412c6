"""The body of a refused or failed call: its message, in the many formats of services, and its other data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from ._other_members import is_empty, rest
from ._shape import items, obj, string

_HOLDERS: Final = ("body", "details", "response")
"""Attributes in which exceptions of client libraries keep the answer."""
_OF_BOTOCORE: Final = frozenset({"ResponseMetadata", "Error"})
"""Headers, code and message, which are also in the text of botocore's exception."""


def message_in(body: Any) -> str | None:
    """Return the message of an error body: `error` as text or object, `message`, or `detail` as text or list."""
    found = obj(body)
    error = found.get("error")
    text = string(error) or string(obj(error).get("message")) or string(found.get("message"))
    if text is not None:
        return text
    detail = found.get("detail")
    if string(detail) is not None:
        return string(detail)
    messages = [string(obj(item).get("msg")) for item in items(detail)]
    return "; ".join(message for message in messages if message) or None


def rest_of_error(body: Any, message: str | None) -> dict[str, Any]:
    """Return the fields of an error body except its message, such as the code, the parameter, a filter's findings."""
    left: dict[str, Any] = _without(message, rest(obj(body), _OF_BOTOCORE))
    return left


def body_of(error: BaseException) -> Mapping[str, Any] | None:
    """Return the answer in an exception of a client library, unless the exception's text already contains all of it."""
    for name in _HOLDERS:
        body: Any = getattr(error, name, None)
        if isinstance(body, str):
            with suppress(ValueError):
                body = json.loads(body)
        if isinstance(body, Mapping):
            return None if str(body) in str(error) else obj(body)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    return _body_behind(error)


def _body_behind(error: BaseException) -> Mapping[str, Any] | None:
    """Return the answer from the HTTP client's exception behind this one. Ollama's own exception has only a message."""
    response: Any = getattr(error.__context__, "response", None)
    with suppress(ValueError, RuntimeError):  # not JSON, or never read
        content: Any = getattr(response, "content", None)
        if isinstance(content, bytes):
            return obj(json.loads(content)) or None
    return None


def _without(message: str | None, value: Any) -> Any:
    if isinstance(value, dict):
        kept = {name: _without(message, item) for name, item in obj(value).items()}  # pyright: ignore[reportUnknownArgumentType]
        return {name: item for name, item in kept.items() if not is_empty(item)}
    if isinstance(value, list):
        return [item for one in items(value) if not is_empty(item := _without(message, one))]  # pyright: ignore[reportUnknownArgumentType]
    return None if value == message else value
