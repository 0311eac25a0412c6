"""The last step: whatever came in, what goes out can be sent, stored and read back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

import orjson

from pandaprobe_otel.mapping.clean import MAX_DEPTH, clean
from pandaprobe_otel.mapping.options import MappingOptions

Result = TypeVar("Result")

_ENCODER_DEPTH: Final = 254


def finished(
    trace: dict[str, Any],
    spans: list[dict[str, Any]],
    options: MappingOptions,
    make: Callable[[dict[str, Any], list[dict[str, Any]], list[bytes]], Result],
) -> Result:
    """Return the trace and spans, safe to send and within the budgets."""
    safe_spans: list[dict[str, Any]] = []
    encoded: list[bytes] = []
    for span in spans:
        safe, data = safe_json(span)
        safe_spans.append(safe)
        encoded.append(data)
    return make(safe_json(trace)[0], safe_spans, encoded)


def safe_json(value: Any) -> tuple[Any, bytes]:
    """Return the value and its encoding; cleaned where the encoder, the store or the server would fail.

    Values are nearly always clean, and the encoder finds out for free: it refuses lone surrogates, big integers
    and foreign types, and shows NULs as an escape.
    """
    try:
        data = orjson.dumps(value)
    except (TypeError, ValueError, RecursionError):
        data = b""
    if not data or (b"\\u0" in data and b"\\u0000" in data) or is_deep(value, data):
        value = clean(value)
        data = orjson.dumps(value)
    return value, data


def is_deep(value: Any, data: bytes) -> bool:
    """Whether the value is nested deeper than `MAX_DEPTH`; `data` is its encoding, which often rules it out."""
    if data.count(b"{") + data.count(b"[") <= MAX_DEPTH:
        return False
    # The encoder counts faster than Python: with enough lists around it, a deep value exceeds its own limit.
    for _ in range(_ENCODER_DEPTH - MAX_DEPTH):
        value = [value]
    try:
        orjson.dumps(value)
    except (TypeError, ValueError, RecursionError):
        return True
    return False
