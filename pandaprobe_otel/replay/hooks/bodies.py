"""Bytes of a request's body, for all types of bodies that a library accepts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast
from urllib.parse import urlencode

from pandaprobe_otel.errors import RecordingError


def body_of(body: Any) -> bytes:
    """Return the bytes, and restore the position of a file. Raises RecordingError for a body that can be read only
    once.
    """
    if body is None:
        return b""
    if isinstance(body, str):
        return body.encode()
    if isinstance(body, (bytes, bytearray)):
        return bytes(body)
    if isinstance(body, Mapping):
        return urlencode(cast("Mapping[str, str]", body), doseq=True).encode()
    if hasattr(body, "read") and hasattr(body, "seek") and hasattr(body, "tell"):
        place = body.tell()
        content: bytes | str = body.read()
        body.seek(place)
        return content.encode() if isinstance(content, str) else content
    raise RecordingError(
        f"A request whose body is a {type(body).__name__} cannot be recorded: it can be read only once. "
        "Pass bytes to the client, or exclude its host with ignore=['https://that.host']."
    )
