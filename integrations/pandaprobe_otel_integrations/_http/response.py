"""Reading the content of an HTTP response of httpx or httpx2, with attributes that both have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from pandaprobe_otel_integrations._endpoint import Body, Endpoint
from pandaprobe_otel_integrations._json import object_from_json
from pandaprobe_otel_integrations._streams import decoding, event_frames, ndjson, sse
from pandaprobe_otel_integrations._streams.body import BodyRecord
from pandaprobe_otel_integrations._streams.text_runs import joined

_JSON_TYPE: Final = "application/json"


@dataclass(frozen=True, slots=True, kw_only=True)
class BodyFormat:
    """Encoding and type of a body, kept in place of the response, which must stay collectable."""

    content_type: str
    content_encoding: str

    @classmethod
    def of(cls, response: Any) -> BodyFormat:
        """Return the format by the response's headers."""
        headers = response.headers
        return cls(
            content_type=headers.get("content-type") or "", content_encoding=headers.get("content-encoding") or ""
        )


class Said(NamedTuple):
    """The content of a body, as far as the app read it.

    `body` is None if the content is neither JSON nor events. `first_output_ns` (epoch ns) is None without streaming.
    """

    body: Body | None
    first_output_ns: int | None
    is_whole: bool
    """True if the body was read to its end. A body that has no end mark is whole only if its content shows that."""


def is_in_memory(response: Any) -> bool:
    """Return whether the body has been read; then `response.content` is its decoded bytes."""
    return bool(response.is_closed and response.is_stream_consumed)


def content_in_memory(response: Any, endpoint: Endpoint) -> Body | None:
    """Return the content of a response that was read."""
    content: bytes = response.content
    if content.startswith(b"{"):
        return object_from_json(content)
    written = BodyFormat.of(response)
    return _read(b"".join(_unframed([content], written)), written.content_type, endpoint)[0]


def content_along(record: BodyRecord, written: BodyFormat, endpoint: Endpoint) -> Said:
    """Return the content of a body that was recorded while the app read it."""
    chunks: Sequence[bytes] = record.chunks
    if written.content_encoding:
        chunks = list(decoding.decoded(chunks, written.content_encoding))
    chunks = _unframed(chunks, written)
    content = b"".join(chunks)
    if content.startswith(b"{") and written.content_type == _JSON_TYPE:
        whole = object_from_json(content)
        return Said(whole, None, whole is not None or record.is_read)
    body, output_at = _read(content, written.content_type, endpoint)
    if output_at is not None:
        sizes = (len(chunk) for chunk in chunks)
        output_at = sse.arrival(output_at, sizes, record.times_ns)
    return Said(body, output_at, _is_whole(record, content, written.content_type))


def _unframed(chunks: Sequence[bytes], written: BodyFormat) -> Sequence[bytes]:
    """Return the chunks of AWS's frames as server-sent events, chunk by chunk; all others unchanged."""
    if event_frames.TYPE not in written.content_type:
        return chunks
    first = next((chunk for chunk in chunks if chunk), b"")
    return list(event_frames.as_events(chunks)) if event_frames.starts(first) else chunks


def _is_whole(record: BodyRecord, content: bytes, content_type: str) -> bool:
    if record.end == "terminal":
        return True
    if _has_events(content, content_type):
        return record.is_read and record.is_cut
    return record.is_read


def _has_events(content: bytes, content_type: str) -> bool:
    return _is_stream(content_type) or sse.looks_like_events(content) or ndjson.is_lines(content_type)


def _is_stream(content_type: str) -> bool:
    return "event-stream" in content_type or event_frames.TYPE in content_type


def _read(content: bytes, content_type: str, endpoint: Endpoint) -> tuple[Body | None, int | None]:
    # Cohere's clients for other clouds replace the events by lines of JSON, and leave the type as it was.
    if ndjson.is_lines(content_type) or (_is_stream(content_type) and content.startswith(b"{")):
        return _merged(ndjson.parse(content), endpoint)
    if _is_stream(content_type) or sse.looks_like_events(content):
        return _merged(sse.parse(content), endpoint)
    if (binary := getattr(endpoint, "binary", None)) is not None and "json" not in content_type:
        return binary(content, content_type), 1
    return object_from_json(content), None


def _merged(events: sse.Events, endpoint: Endpoint) -> tuple[Body | None, int | None]:
    first = next((event.ends_at for event in events.items if endpoint.is_output(event)), None)
    return endpoint.merged(joined(events, getattr(endpoint, "growing", None))), first
