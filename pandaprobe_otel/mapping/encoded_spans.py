"""The spans of a request as JSON text: one piece, which is taken apart only when somebody asks for single spans."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import orjson

_START: Final = len(b'{"span_id":"01234567-89ab-cdef-')
"""What all spans of one trace begin with: half of their ids is the trace's (`ids.py`)."""


@dataclass(frozen=True, slots=True)
class EncodedSpans:
    """JSON objects of the spans of one trace, encoded without white space.

    Nearly every trace is sent as it was mapped. To keep its spans in one piece until then saves a copy of each, and an
    object for each that waits. Its length is their number, and it gives them one by one.
    """

    joined: bytes = b""
    """All of them, with commas between them."""
    count: int = 0

    @classmethod
    def of(cls, spans: Iterable[bytes]) -> EncodedSpans:
        """The same spans in one piece."""
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
            *(b"".join((start, piece, b"}")) for piece in pieces[1:-1]),
            start + pieces[-1],
        ]
    # A list in the content of a span looks like spans of this trace, or they are of several traces.
    return [orjson.dumps(span) for span in orjson.loads(b"[%b]" % joined)]


NO_SPANS: Final = EncodedSpans()
