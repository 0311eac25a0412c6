"""Bytes of answers: JSON, server-sent events, JSON lines, and AWS's event stream."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

from pandaprobe_otel.replay.aws_frames import frame_of

JSON: Final = "application/json"
EVENTS: Final = "text/event-stream"
LINES: Final = "application/x-ndjson"
AWS_EVENTS: Final = "application/vnd.amazon.eventstream"


def json_bytes(value: Any) -> bytes:
    """Return a JSON document."""
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")


def server_sent(event: Mapping[str, Any], *, is_named: bool) -> bytes:
    """Return one server-sent event, named by its `type` if the protocol names events."""
    name = b"event: %b\n" % str(event["type"]).encode() if is_named else b""
    return name + b"data: %b\n\n" % json_bytes(event)


def line(event: Mapping[str, Any]) -> bytes:
    """Return one JSON document on its own line."""
    return json_bytes(event) + b"\n"


def aws_frame(name: str, payload: Mapping[str, Any]) -> bytes:
    """Return one message of AWS's event stream."""
    headers = {":event-type": name, ":content-type": JSON, ":message-type": "event"}
    return frame_of({"headers": headers, "payload": payload})


def spread(sizes: Iterable[int], *, first_ms: float, total_ms: float) -> tuple[tuple[float, int], ...]:
    """Return chunks of these sizes. The first arrives when the model began to answer, the others at even intervals."""
    found = list(sizes)
    between = max(total_ms - first_ms, 0.0) / max(len(found) - 1, 1)
    return tuple((round(first_ms if at == 0 else between, 3), size) for at, size in enumerate(found))
