"""Units of a body (a document, lines of a stream, or AWS frames), their texts, and the chunks that contain them."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any, Final, cast

from pandaprobe_otel.protocols import aws_frames
from pandaprobe_otel.protocols.encoding import dump, load

Chunks = tuple[tuple[float, int], ...]
Path = tuple[str | int, ...]
NO_JSON: Final = object()
"""Content of a unit without JSON: a comment, an empty line, `[DONE]`, or text."""
_NEXT_DOCUMENT: Final = re.compile(rb"\n[ \t]*\{")
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
        or "ndjson" in kind
        or "jsonl" in kind
        or body[:1] == b"{"
    ):
        return [_line(line) for line in body.splitlines(keepends=True)]
    return [Unit(body)]


def may_be_events(body: bytes, content_type: str) -> bool:
    """Return quickly whether a body may have several units, over which a secret can be spread."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind in (aws_frames.CONTENT_TYPE, "text/event-stream") or "ndjson" in kind or "jsonl" in kind:
        return True
    if body[:1] == b"{":
        return _NEXT_DOCUMENT.search(body) is not None
    return body[:1] != b"[" and b"data:" in body[:4096]


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


def moved(chunks: Chunks, before: Sequence[Unit], after: Sequence[Unit]) -> Chunks:
    """Return the chunks of a body whose units have changed. Each chunk ends in the same unit as before."""
    if not chunks:
        return ()
    old = [0, *accumulate(len(unit.raw) for unit in before)]
    new = [0, *accumulate(len(unit.raw) for unit in after)]
    found: list[tuple[float, int]] = []
    begin = place = 0
    for time, length in chunks:
        place += length
        index = min(bisect_right(old, place) - 1, len(old) - 1)
        end = new[index] if index >= len(before) else min(new[index] + place - old[index], new[index + 1])
        found.append((time, max(end - begin, 0)))
        begin = max(end, begin)
    if found and begin < new[-1]:
        found[-1] = (found[-1][0], found[-1][1] + new[-1] - begin)
    return tuple(found)


def recut(body: bytes, content_type: str, chunks: Chunks) -> Chunks:
    """Return chunks for a body that was edited by hand. They end where its events end.

    Existing times are kept in order; the remaining events arrive at once.
    """
    if sum(length for _, length in chunks) == len(body):
        return chunks
    lengths = [len(event) for event in events_of(body, content_type)]
    times = [time for time, _ in chunks]
    if len(lengths) < len(times):  # The rest of the time passes before the last event.
        times = [*times[: len(lengths) - 1], sum(times[len(lengths) - 1 :])] if lengths else []
    times += [0.0] * (len(lengths) - len(times))
    return tuple(zip(times, lengths, strict=True))


def events_of(body: bytes, content_type: str) -> list[bytes]:
    """Cut a body after each of its events."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind == aws_frames.CONTENT_TYPE:
        return list(aws_frames.frames_of(body))
    lines = body.splitlines(keepends=True)
    if kind == "text/event-stream":
        return _grouped(lines, lambda line: not line.strip())
    if "ndjson" in kind or "jsonl" in kind:
        return lines
    return [body] if body else []


def _grouped(lines: Sequence[bytes], is_last: Callable[[bytes], bool]) -> list[bytes]:
    groups: list[bytes] = []
    begin = 0
    for index, line in enumerate(lines, start=1):
        if is_last(line) or index == len(lines):
            groups.append(b"".join(lines[begin:index]))
            begin = index
    return groups


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
