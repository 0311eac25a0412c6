"""Errors inside a body with HTTP status 200, for example in the middle of a stream."""

from __future__ import annotations

from typing import Any

from pandaprobe_otel_integrations._endpoint import Failure
from pandaprobe_otel_integrations._shape import obj, string


def failure_in(error: Any) -> Failure | None:
    """Return the `error` of a body: an object with `code`, `type` and `message`, or only a text."""
    if isinstance(error, str) and error:
        return Failure(type="error", message=error)
    found = obj(error)
    if not found:
        return None
    code = found.get("code")
    kind = string(code) or string(found.get("type")) or (str(code) if code is not None else "error")
    return Failure(type=kind, message=string(found.get("message")) or kind)
