"""From an HTTP response of httpx or httpx2 to what it says. Only attributes that both have are used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from pandaprobe_otel_integrations._endpoint import Body, Endpoint
from pandaprobe_otel_integrations._json import object_from_json
from pandaprobe_otel_integrations._streams import decoding, ndjson, sse
from pandaprobe_otel_integrations._streams.body import BodyRecord
from pandaprobe_otel_integrations._streams.runs import joined

_JSON_TYPE: Final = "application/json"


@dataclass(frozen=True, slots=True, kw_only=True)
class BodyFormat:
    """How a body is written. It stands in for the response, which must stay free to be forgotten."""

    content_type: str
    content_encoding: str

    @classmethod
    def of(cls, response: Any) -> BodyFormat:
        """The format by the response's headers."""
        headers = response.headers
        return cls(
            content_type=headers.get("content-type") or "", content_encoding=headers.get("content-encoding") or ""
        )


def is_in_memory(response: Any) -> bool:
    """Whether the body has been read; then `response.content` is its decoded bytes."""
    return bool(response.is_closed and response.is_stream_consumed)


def said_in_memory(response: Any, endpoint: Endpoint) -> Body | None:
    """What a response that was read says."""
    content: bytes = response.content
    if content.startswith(b"{"):
        return object_from_json(content)
    return _read(content, BodyFormat.of(response).content_type, endpoint)[0]


def said_along(record: BodyRecord, written: BodyFormat, endpoint: Endpoint) -> tuple[Body | None, int | None]:
    """What a body says as far as the app read it (None: neither JSON nor events), and when the first output came.

    The time is in epoch ns; None for a body in one piece.
    """
    chunks: Sequence[bytes] = record.chunks
    if written.content_encoding:
        chunks = list(decoding.decoded(chunks, written.content_encoding))
    content = b"".join(chunks)
    if content.startswith(b"{") and written.content_type == _JSON_TYPE:
        return object_from_json(content), None
    body, output_at = _read(content, written.content_type, endpoint)
    if output_at is None:
        return body, None
    sizes = (len(chunk) for chunk in chunks)
    return body, sse.arrival(output_at, sizes, record.times_ns)


def _read(content: bytes, content_type: str, endpoint: Endpoint) -> tuple[Body | None, int | None]:
    if "event-stream" in content_type or sse.looks_like_events(content):
        return _merged(sse.parse(content), endpoint)
    if ndjson.is_lines(content_type):
        return _merged(ndjson.parse(content), endpoint)
    if (binary := getattr(endpoint, "binary", None)) is not None and "json" not in content_type:
        return binary(content, content_type), 1
    return object_from_json(content), None


def _merged(events: sse.Events, endpoint: Endpoint) -> tuple[Body | None, int | None]:
    first = next((event.ends_at for event in events.items if endpoint.is_output(event)), None)
    return endpoint.merged(joined(events, getattr(endpoint, "growing", None))), first
