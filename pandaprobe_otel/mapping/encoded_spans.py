"""Spans of a request as one piece of JSON text, which is split only if single spans are needed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import orjson

_START: Final = len(b'{"span_id":"01234567-89ab-cdef-')
"""Length of the prefix that all spans of one trace share: half of their ids comes from the trace (`ids.py`)."""


@dataclass(frozen=True, slots=True)
class EncodedSpans:
    """JSON objects of the spans of one trace, encoded without white space.

    Nearly every trace is sent as it was mapped. Until then, keeping its spans in one piece saves a copy and an object
    for each span. `len()` is the number of spans, and iteration yields them one by one.
    """

    joined: bytes = b""
    """All spans, separated by commas."""
    count: int = 0

    @classmethod
    def of(cls, spans: Iterable[bytes]) -> EncodedSpans:
        """Join encoded spans into one piece."""
        pieces = tuple(spans)
        return cls(b",".join(pieces), len(pieces))

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, part: slice) -> EncodedSpans:
        return EncodedSpans.of(_taken_apart(self.joined, self.count)[part])

    def __iter__(self) -> Iterator[bytes]:
        return iter(_taken_apart(self.joined, self.count))


def _taken_apart(joined: bytes, count: int) -> list[bytes]:
    if count < 2:
        return [joined][:count]
    start = joined[:_START]
    pieces = joined.split(b"}," + start)
    if len(pieces) == count:
        return [
            pieces[0] + b"}",
            *[b"".join((start, piece, b"}")) for piece in pieces[1:-1]],
            start + pieces[-1],
        ]
    # The content of a span contains the same prefix, or the spans belong to several traces.
    return [orjson.dumps(span) for span in orjson.loads(b"[%b]" % joined)]


NO_SPANS: Final = EncodedSpans()
