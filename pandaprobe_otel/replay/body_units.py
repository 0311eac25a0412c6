"""Units of a body (a document, lines of a stream, or AWS frames) and their texts, and the events of a stream."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, cast

from pandaprobe_otel.protocols import aws_frames
from pandaprobe_otel.protocols.encoding import dump, load

Path = tuple[str | int, ...]
NO_JSON: Final = object()
"""Content of a unit without JSON: a comment, an empty line, `[DONE]`, or text."""
_OF_LINES: Final = ("ndjson", "jsonl", "stream+json")
"""Parts of content types with one JSON document in a line."""
_DELTAS: Final = frozenset(
    {
        "arguments", "completion", "content", "delta", "generation", "input", "outputText", "partial_json", "reasoning",
        "reasoning_content", "refusal", "response", "summary", "text", "thinking",
    }
)  # fmt: skip
"""Fields whose texts a client joins over the events of a stream."""


@dataclass(frozen=True, slots=True)
class Unit:
    """Part of a body. `content` is its JSON; `head` and `tail` are the bytes around it."""

    raw: bytes
    content: Any = NO_JSON
    head: bytes = b""
    tail: bytes = b""
    is_frame: bool = False

    def with_content(self, content: Any) -> Unit:
        """Return a unit with other content."""
        if self.is_frame:
            return replace(self, raw=aws_frames.frame_of(content), content=content)
        text = dump(content).encode()
        return replace(self, raw=self.head + text + self.tail, content=content)

    def with_text(self, text: bytes) -> Unit:
        """Return a unit without JSON, with other text."""
        return replace(self, raw=text)


def units_of(body: bytes, content_type: str) -> list[Unit]:
    """Cut a body into units. Joined, they are the body."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind == aws_frames.CONTENT_TYPE:
        return [_frame(frame) for frame in aws_frames.frames_of(body)]
    whole = _json(body)
    if whole is not NO_JSON:
        return [Unit(body, whole)]
    if (
        kind == "text/event-stream"
        or b"data:" in body[:4096]
        or any(lines in kind for lines in _OF_LINES)
        or body[:1] == b"{"
    ):
        return [_line(line) for line in body.splitlines(keepends=True)]
    return [Unit(body)]


def _frame(frame: bytes) -> Unit:
    event = aws_frames.event_of(frame)
    return Unit(frame) if event is None else Unit(frame, event, is_frame=True)


def _line(line: bytes) -> Unit:
    text = line.rstrip(b"\r\n")
    tail = line[len(text) :]
    head = b""
    if text.startswith(b"data:"):
        head = text[:6] if text[5:6] == b" " else text[:5]
    content = _json(text[len(head) :]) if head or text.startswith(b"{") else NO_JSON
    return Unit(line) if content is NO_JSON else Unit(line, content, head, tail)


def _json(text: bytes) -> Any:
    if text[:1] not in (b"{", b"["):
        return NO_JSON
    try:
        return load(text)
    except (ValueError, RecursionError):
        return NO_JSON


def joined(units: Sequence[Unit]) -> bytes:
    """Return the body that consists of these units."""
    return b"".join(unit.raw for unit in units)


def events_of(body: bytes, content_type: str) -> list[bytes]:
    """Cut an answer after each event of its stream. An answer without events is one piece."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind == aws_frames.CONTENT_TYPE:
        return list(aws_frames.frames_of(body))
    if any(lines in kind for lines in _OF_LINES):
        return body.splitlines(keepends=True)
    if kind != "text/event-stream":
        return [body] if body else []
    events: list[list[bytes]] = [[]]
    for line in body.splitlines(keepends=True):
        events[-1].append(line)
        if not line.strip():
            events.append([])
    return [b"".join(lines) for lines in events if lines]


def deltas(content: Any, shared: Path = (), path: Path = ()) -> Iterator[tuple[Path, Path, str]]:
    """Yield the texts of an event that continue texts of earlier events, with their common key, and their path."""
    if isinstance(content, dict):
        mapping = cast("dict[str, Any]", content)
        index: Any = mapping.get("index", mapping.get("contentBlockIndex", mapping.get("output_index")))
        if isinstance(index, int):
            shared = (*shared, index)
        for key, value in mapping.items():
            if isinstance(value, str):
                if key in _DELTAS:
                    yield (*shared, key), (*path, key), value
            else:
                yield from deltas(value, (*shared, key), (*path, key))
    elif isinstance(content, list):
        for place, item in enumerate(cast("Sequence[Any]", content)):
            yield from deltas(item, (*shared, "[]"), (*path, place))
