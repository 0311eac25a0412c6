"""The last step: whatever came in, what goes out can be sent, stored and read back."""

from __future__ import annotations

from typing import Any, Final

import orjson

from pandaprobe_otel.mapping.budget import FRAME, fit_fields, fit_trace
from pandaprobe_otel.mapping.clean import clean
from pandaprobe_otel.mapping.encoded_spans import EncodedSpans
from pandaprobe_otel.mapping.exact import type_of
from pandaprobe_otel.mapping.mapped_trace import MappedTrace
from pandaprobe_otel.mapping.masks import masked
from pandaprobe_otel.mapping.options import MappingOptions
from pandaprobe_otel.mapping.text import MIN_DATA_URL, digest_of_data_url, size_and_hash

_IDS: Final = ("model", "session_id", "user_id", "environment", "release")


def finished(trace: dict[str, Any], spans: list[dict[str, Any]], options: MappingOptions) -> MappedTrace:
    """Return the trace and its spans: safe to send, masked, within the budgets."""
    most = 0 if options.masks else options.max_field_bytes
    trace, encoded_trace = _kept(trace, most, options)
    bodies: list[dict[str, Any]] = []
    pieces: list[bytes | memoryview] = []
    together = _FIRST_TOGETHER if most >= _LARGE else 1
    while len(bodies) < len(spans):
        some = spans[len(bodies) : len(bodies) + together]
        # All are encoded and searched at once, and one by one only if anything is wrong with any of them.
        data = _encoded([[[some]]]) if together > 1 else b""  # as deep as each body is on its own
        if 0 < len(data) <= most and not _has_data_url(data):
            bodies += some
            pieces.append(memoryview(data)[4:-4])
            together = _MOST_TOGETHER
            continue
        del data  # it may be large, and is no longer needed
        together = _FIRST_TOGETHER if most >= _LARGE else 1
        for body in some:
            body, encoded = _kept(body, most, options)
            bodies.append(body)
            pieces.append(encoded)
            if len(encoded) > _LARGE // 2:  # maybe since it was cut to that
                together = 1
    size_and_hash.cache_clear()
    total = len(encoded_trace) + sum(map(len, pieces)) + len(pieces) + FRAME
    if total > options.max_trace_bytes:
        fit_trace([trace, *bodies], total, options.max_trace_bytes)
        encoded_trace = orjson.dumps(trace)
        pieces = [orjson.dumps(body) for body in bodies]
        size_and_hash.cache_clear()
    return MappedTrace(trace, bodies, encoded_trace, EncodedSpans(b",".join(pieces), len(bodies)))


_FIRST_TOGETHER: Final = 4
_MOST_TOGETHER: Final = 32
_LARGE: Final = 262_144
"""Bodies that are encoded by one call: few at first, and one after a large one. So no more than a few large values are
in memory twice at a time, before they are cut."""


def _kept(body: dict[str, Any], most: int, options: MappingOptions) -> tuple[dict[str, Any], bytes]:
    """Return the body and its encoding, as it is if it is of at most so many bytes and nothing is wrong with it."""
    data = _encoded_body(body)
    if 0 < len(_sound(data)) <= most:
        return body, data
    is_safe = bool(data)
    del data  # it may be large
    return _mended(body if is_safe else _safe_body(body), options)


def _sound(data: bytes) -> bytes:
    return b"" if len(data) > MIN_DATA_URL and _has_data_url(data) else data


def _mended(body: dict[str, Any], options: MappingOptions) -> tuple[dict[str, Any], bytes]:
    """Return the body, which is safe, and its encoding: masked, without binary data, within the budget of a field."""
    if options.masks:
        body = _safe_body(masked(body, options.masks))  # a mask may make what must not be sent
    body = without_data_urls(body)
    fit_fields(body, options.max_field_bytes)
    data = _encoded_body(body)
    if not data:
        body = clean(body)
        data = orjson.dumps(body)
    return body, data


def _safe_body(body: dict[str, Any]) -> dict[str, Any]:
    if _encoded_body(body):
        return body
    safe: dict[str, Any] = clean(body)
    # Nothing is left of a text of NULs; the server refuses an empty name, and an empty id says nothing.
    safe["name"] = safe["name"] or "span"
    for field in _IDS:
        if safe.get(field) == "":
            del safe[field]
    return safe


def _encoded(value: Any) -> bytes:
    """Return the value as JSON; nothing where it must be cleaned: the encoder, the store or the server would fail.

    Values are nearly always clean, and the encoder finds out for free: it refuses lone surrogates, big integers,
    foreign types and values nested deeper than itself can go, and shows NULs as an escape. So bodies are given to it
    inside of four lists, which stand for the trace, its list of spans and who puts the trace somewhere: 250 levels are
    left for them.
    """
    try:
        data = orjson.dumps(value)
    except (TypeError, ValueError, RecursionError):
        return b""
    # Five bytes are searched twice as fast as the six of the escape.
    return b"" if b"u0000" in data and b"\\u0000" in data else data


def _encoded_body(body: dict[str, Any]) -> bytes:
    return _encoded([[[[body]]]])[4:-4]


_DATA_URL: Final = b";base64,"
_MIN_BYTES_PER_LOOK: Final = 128


def _has_data_url(data: bytes) -> bool:
    # A single byte is found six times as fast as a word; where it stands everywhere (program text), the word is.
    at = data.find(b";")
    for _ in range(len(data) // _MIN_BYTES_PER_LOOK + 1):
        if at < 0:
            return False
        if data.startswith(_DATA_URL, at):
            return True
        at = data.find(b";", at + 1)
    return _DATA_URL in data[at:] if at >= 0 else False


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
