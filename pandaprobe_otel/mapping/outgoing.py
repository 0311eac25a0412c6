"""Last step of the mapping: ensure that the result can be sent, stored and read back, whatever the input."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import orjson

from pandaprobe_otel.mapping.clean import clean
from pandaprobe_otel.mapping.encoded_spans import EncodedSpans
from pandaprobe_otel.mapping.options import MappingOptions, masked
from pandaprobe_otel.mapping.secrets_in_texts import without_credentials
from pandaprobe_otel.mapping.text import encoded_size, level_of, shrink, with_media
from pandaprobe_otel.mapping.values import type_of


@dataclass(frozen=True, slots=True)
class MappedTrace:
    """Trace in PandaProbe's form: its own fields, and its spans sorted by start."""

    trace: dict[str, Any]
    spans: list[dict[str, Any]]
    encoded_trace: bytes
    """The trace's own fields as JSON text."""
    encoded_spans: EncodedSpans
    """The same spans as JSON text, for sending them in batches."""
    merged: Mapping[int, int]
    """Spans that became part of another span of the same call, with the id of the other one (`model_calls.py`)."""

    def encoded(self) -> bytes:
        """Return the body of POST /traces as JSON."""
        return b"".join((self.encoded_trace[:-1], b',"spans":[', self.encoded_spans.joined, b"]}"))


_IDS: Final = ("model", "session_id", "user_id", "environment", "release")


def finished(
    trace: dict[str, Any], spans: list[dict[str, Any]], options: MappingOptions, merged: Mapping[int, int]
) -> MappedTrace:
    """Return the trace and its spans: safe to send, masked and within the budgets."""
    if options.scrubs:
        for body in (trace, *spans):
            _scrub(body)
    (own,), (encoded_trace,) = _encoded_bodies([trace], options)
    bodies, pieces = _encoded_bodies(spans, options)
    excess = len(encoded_trace) + sum(map(len, pieces)) + len(pieces) + FRAME - options.max_trace_bytes
    if excess > 0:
        if options.inline_media:
            return finished(trace, spans, replace(options, inline_media=0), merged)
        fit_trace([own, *bodies], excess)
        encoded_trace = orjson.dumps(own)
        pieces = [*map(orjson.dumps, bodies)]
    return MappedTrace(own, bodies, encoded_trace, EncodedSpans(b",".join(pieces), len(bodies)), merged)


def _encoded_bodies(bodies: list[dict[str, Any]], options: MappingOptions) -> tuple[list[dict[str, Any]], list[bytes]]:
    """Return the bodies, mended where needed, and pieces of their encoding: several are encoded at once."""
    kept: list[dict[str, Any]] = []
    pieces: list[bytes] = []
    together = 1
    while len(kept) < len(bodies):
        some = bodies[len(kept) : len(kept) + together]
        data = _sendable(some, options)
        together = _TOGETHER if 0 < len(data) < _LARGE else 1
        if data:
            kept += some
            pieces.append(data)
            continue
        for body in some:  # only if there is a problem, each is treated separately
            data = _sendable([body], options) if len(some) > 1 else b""
            mended = body if data else _mended(body, options)
            kept.append(mended)
            pieces.append(data or orjson.dumps(mended))
    return kept, pieces


def _sendable(bodies: list[dict[str, Any]], options: MappingOptions) -> bytes:
    """Return the bodies as JSON, separated by commas; b"" if something in them may have to be mended."""
    data = b"" if options.masks else _encoded(bodies)
    return data if len(data) <= options.max_field_bytes and not _has_data_url(data) else b""


_E: Final = ord("e")


def has_large_float(*pieces: bytes) -> bool:
    """Return whether encoded JSON contains a float like 1.8446744073709552e+19: a number, or digits in a text."""
    for encoded in pieces:
        at = encoded.find(b"+")  # a single byte is found ten times as fast as several
        while at >= 0:
            if encoded[at - 1] == _E and encoded[at - 2 : at - 1].isdigit() and encoded[at + 1 : at + 3].isdigit():
                return True
            at = encoded.find(b"+", at + 1)
    return False


_URL: Final = "://"
_ERROR_KEYS: Final = frozenset({"stack_trace", "error", "exception", "error_message", "headers"})


def _scrub(body: dict[str, Any]) -> None:
    """Replace well-known credentials in errors, stack traces, and texts with a URL in names and metadata."""
    name, metadata = body["name"], body["metadata"]
    if "error" in body:
        body["error"] = without_credentials(body["error"])
    if _URL in name:
        body["name"] = without_credentials(name)
    _scrub_texts(metadata)
    if "attributes" in metadata and type_of(metadata["attributes"]) is dict:
        _scrub_texts(metadata["attributes"])


def _scrub_texts(texts: dict[str, Any]) -> None:
    for key, value in texts.items():
        if value.__class__ is str and (_URL in value or key in _ERROR_KEYS):
            texts[key] = without_credentials(value)


_TOGETHER: Final = 32
_LARGE: Final = 65_536
"""Bytes of a large body. Several bodies are encoded in one call until a large one comes, then one per call. So only a
few large values are in memory twice before they are cut."""


def _mended(body: dict[str, Any], options: MappingOptions) -> dict[str, Any]:
    """Return a safe body: masked, without binary data, and with each field within its budget."""
    body = _safe_body(body)
    if options.masks:
        body = _safe_body(masked(body, options.masks))  # a mask may return text that is not safe
    limit = options.max_field_bytes
    whole, body = with_media(body, options.inline_media), with_media(body, 0)
    # Data that is cut in the middle shows nothing, so a body with much of it has digests alone.
    if whole != body and len(_encoded([whole])) <= limit + options.inline_media:
        body, limit = whole, limit + options.inline_media
    for field in FIELDS:
        if field in body:
            body[field] = shrink(body[field], limit, digest=True)
    return _safe_body(body)


def _safe_body(body: dict[str, Any]) -> dict[str, Any]:
    if _encoded([body]):
        return body
    safe: dict[str, Any] = clean(body)
    # A text of NULs becomes empty; the server refuses an empty name, and an empty id has no meaning.
    safe["name"] = safe["name"] or "span"
    for name in _IDS:
        if safe.get(name) == "":
            del safe[name]
    return safe


def _encoded(bodies: list[dict[str, Any]]) -> bytes:
    """Return the bodies as JSON, separated by commas; b"" if the encoder, the store or the server would fail on them.

    Values are nearly always clean, and the encoder checks this for free: it refuses lone surrogates, big integers,
    foreign types and deep nesting. It writes NULs as an escape. Bodies are wrapped in four lists, which represent
    the trace, its list of spans and further levels around the trace; 250 levels remain for the body.
    """
    try:
        data = orjson.dumps([[[bodies]]])
    except (TypeError, ValueError, RecursionError):
        return b""
    # Searching for five bytes is twice as fast as searching for all six of the escape.
    return b"" if b"u0000" in data and b"\\u0000" in data else data[4:-4]


_DATA_URL: Final = b";base64,"
_MIN_BYTES_PER_LOOK: Final = 128


def _has_data_url(data: bytes) -> bool:
    # A single byte is found six times as fast as the whole mark. If the byte is frequent (program text), use the mark.
    at = data.find(b";")
    for _ in range(len(data) // _MIN_BYTES_PER_LOOK + 1):
        if at < 0:
            return False
        if data.startswith(_DATA_URL, at):
            return True
        at = data.find(b";", at + 1)
    return _DATA_URL in data[at:] if at >= 0 else False


FIELDS: Final = ("input", "output", "metadata", "error", "model_parameters")
"""Fields of a span or trace without a size limit of their own."""

FRAME: Final = 10
"""Bytes of a trace's body around its fields and spans, without the commas between spans."""

MIN_FIELD: Final = 256
_CUT: Final = "…[cut]"


def fit_trace(bodies: Sequence[dict[str, Any]], excess: int) -> None:
    """Cut the largest fields of all bodies to one size, in place, to save `excess` bytes.

    If their bare structure alone is too large, it is kept without content.
    """
    sizes = [(encoded_size(body[field]), body, field) for body in bodies for field in FIELDS if field in body]
    limit = level_of(sorted(size for size, _, _ in sizes), excess, 0)
    for size, body, field in sizes:
        if size > limit >= MIN_FIELD:
            body[field] = shrink(body[field], limit, digest=True)
        elif size > max(limit, len(_CUT)):
            body[field] = {"cut": _CUT} if field in ("metadata", "model_parameters") else _CUT
