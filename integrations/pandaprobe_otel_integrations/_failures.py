"""What the body of a refused or failed call says is wrong, in the many forms that services use."""

from __future__ import annotations

from typing import Any

from ._shape import items, obj, string


def message_in(body: Any) -> str | None:
    """The message of an error body: `error` as text or object, `message`, or `detail` as text or list."""
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
