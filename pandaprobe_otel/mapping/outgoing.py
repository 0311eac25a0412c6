"""The last step: whatever came in, what goes out can be sent, stored and read back."""

from __future__ import annotations

from typing import Any, Final

import orjson

from pandaprobe_otel.mapping.budget import fit_fields, fit_trace
from pandaprobe_otel.mapping.clean import MAX_DEPTH, clean
from pandaprobe_otel.mapping.exact import type_of
from pandaprobe_otel.mapping.masks import masked
from pandaprobe_otel.mapping.options import MappingOptions
from pandaprobe_otel.mapping.text import MIN_DATA_URL, digest_of_data_url

_ENCODER_DEPTH: Final = 254


def finished(
    trace: dict[str, Any], spans: list[dict[str, Any]], options: MappingOptions
) -> tuple[dict[str, Any], list[dict[str, Any]], list[bytes]]:
    """Return the trace, its spans and their encodings, safe to send, masked and within the budgets."""
    pairs = [_finished(body, options) for body in (trace, *spans)]
    bodies = [body for body, _ in pairs]
    encoded = [data for _, data in pairs]
    total = sum(map(len, encoded))
    if total > options.max_trace_bytes:
        fit_trace(bodies, total, options.max_trace_bytes)
        encoded = [orjson.dumps(body) for body in bodies]
    return bodies[0], bodies[1:], encoded[1:]


def _finished(body: dict[str, Any], options: MappingOptions) -> tuple[dict[str, Any], bytes]:
    body, data = safe_json(body)
    changed = False
    if options.masks:
        body = masked(body, options.masks)
        changed = True
    if len(data) > MIN_DATA_URL and b";base64," in data:
        body = without_data_urls(body)
        changed = True
    if len(data) > options.max_field_bytes:
        changed |= fit_fields(body, options.max_field_bytes)
    return safe_json(body) if changed else (body, data)


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


def without_data_urls(value: Any) -> Any:
    """Return the value with every long base64 data URL replaced by its type, length and SHA-256."""
    kind = type_of(value)
    if kind is str:
        return digest_of_data_url(value) or value
    if kind is dict:
        return {key: without_data_urls(item) for key, item in value.items()}
    if kind is list:
        return [without_data_urls(item) for item in value]
    return value
