"""The last step: whatever came in, what goes out can be sent, stored and read back."""

from __future__ import annotations

from typing import Any, Final

import orjson

from pandaprobe_otel.mapping.budget import FRAME, fit_fields, fit_trace
from pandaprobe_otel.mapping.clean import clean
from pandaprobe_otel.mapping.exact import type_of
from pandaprobe_otel.mapping.masks import masked
from pandaprobe_otel.mapping.options import MappingOptions
from pandaprobe_otel.mapping.text import MIN_DATA_URL, digest_of_data_url

_IDS: Final = ("model", "session_id", "user_id", "environment", "release")


def finished(
    trace: dict[str, Any], spans: list[dict[str, Any]], options: MappingOptions
) -> tuple[dict[str, Any], list[dict[str, Any]], list[bytes]]:
    """Return the trace, its spans and their encodings, safe to send, masked and within the budgets."""
    trace, trace_data = _finished(trace, options)
    bodies: list[dict[str, Any]] = []
    encoded: list[bytes] = []
    for span in spans:
        body, data = _finished(span, options)
        bodies.append(body)
        encoded.append(data)
    total = len(trace_data) + sum(map(len, encoded)) + len(bodies) + FRAME
    if total > options.max_trace_bytes:
        fit_trace([trace, *bodies], total, options.max_trace_bytes)
        encoded = [orjson.dumps(body) for body in bodies]
    return trace, bodies, encoded


def _finished(body: dict[str, Any], options: MappingOptions) -> tuple[dict[str, Any], bytes]:
    body, data = _safe_body(body)
    if options.masks:
        body, _ = _safe_body(masked(body, options.masks))  # a mask may make what must not be sent
        return _fitted(body, options.max_field_bytes)
    if len(data) <= options.max_field_bytes and (len(data) <= MIN_DATA_URL or not _has_data_url(data)):
        return body, data
    return _fitted(body, options.max_field_bytes)


def _safe_body(body: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    safe, data = safe_json(body)
    if safe is body:
        return body, data
    # Nothing is left of a text of NULs; the server refuses an empty name, and an empty id says nothing.
    safe["name"] = safe["name"] or "span"
    for field in _IDS:
        if safe.get(field) == "":
            del safe[field]
    return safe, orjson.dumps(safe)


def _fitted(body: dict[str, Any], max_bytes: int) -> tuple[dict[str, Any], bytes]:
    body = without_data_urls(body)
    fit_fields(body, max_bytes)
    return safe_json(body)


def _has_data_url(data: bytes) -> bool:
    # The first test is forty times as fast as the second.
    return b";" in data and b";base64," in data


def safe_json(value: Any) -> tuple[Any, bytes]:
    """Return the value and its encoding; cleaned where the encoder, the store or the server would fail.

    Values are nearly always clean, and the encoder finds out for free: it refuses lone surrogates, big integers,
    foreign types and values nested deeper than itself can go, and shows NULs as an escape.
    """
    try:
        # Four levels for the body, its list of spans and who puts the body somewhere: 250 are left for the value.
        data = orjson.dumps([[[[value]]]])[4:-4]
    except (TypeError, ValueError, RecursionError):
        data = b""
    # Five bytes are searched twice as fast as the six of the escape.
    if not data or (b"u0000" in data and b"\\u0000" in data):
        value = clean(value)
        data = orjson.dumps(value)
    return value, data


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
