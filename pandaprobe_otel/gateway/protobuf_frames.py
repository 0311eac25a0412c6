"""Frames of Protobuf: the positions of a message's parts, found without building objects.

The library builds all parts at once. The smallest part has two bytes in a body, but takes sixty bytes of memory, or
thirty-six in a list of bytes. So this module first counts the parts that may be too many.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from pandaprobe_otel.gateway.errors import OverBoundError, unreadable

Buffer = bytes | bytearray | memoryview

_MALFORMED: Final = "the body is not an ExportTraceServiceRequest"
_LARGEST_TAG: Final = (1 << 32) - 1
_DEEPEST: Final = 100
"""Deepest nesting of messages, as in the library."""
_FIXED: Final = {1: 8, 5: 4}


def parts(data: Buffer, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield number, start and end of each field. The start is -1 if the field has a number instead of bytes.

    Raises RefusedError (400) for malformed frames.
    """
    at = start
    while at < end:
        tag, at = _varint(data, at, end)
        number, kind = tag >> 3, tag & 7
        if not number or tag > _LARGEST_TAG:
            raise unreadable(f"{_MALFORMED}: a field without a number")
        begun = -1
        if kind == 2:
            size, begun = _varint(data, at, end)
            at = begun + size
        elif kind == 0:
            _, at = _varint(data, at, end)
        elif kind in _FIXED:
            at += _FIXED[kind]
        else:
            raise unreadable(f"{_MALFORMED}: a field of wire type {kind}")
        if at > end:
            raise unreadable(f"{_MALFORMED}: it ends too early")
        yield number, begun, at


def _varint(data: Buffer, at: int, end: int) -> tuple[int, int]:
    """Return the number at this position, and its end."""
    value = shift = 0
    while at < end and shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise unreadable(f"{_MALFORMED}: a number that does not end")


class Counter:
    """Counter of the fields in messages of one type, including nested messages."""

    def __init__(self, descriptor: Any) -> None:
        self._inner: dict[str, dict[int, str]] = {}
        self._root: str = descriptor.full_name
        self._learn(descriptor)

    def _learn(self, descriptor: Any) -> None:
        if descriptor.full_name in self._inner:
            return
        inner = self._inner[descriptor.full_name] = {}
        for field in descriptor.fields:
            if field.message_type is not None:
                inner[field.number] = field.message_type.full_name
                self._learn(field.message_type)

    def count(self, data: Buffer, most: int) -> int:
        """Return the number of fields. Raises OverBoundError above `most`, and RefusedError for malformed frames."""
        count = 0
        inner: Mapping[int, str] = self._inner[self._root]
        ways = [(parts(data, 0, len(data)), inner)]
        while ways:
            way, inner = ways[-1]
            for number, start, end in way:
                count += 1
                if count > most:
                    raise OverBoundError
                if start >= 0 and number in inner:
                    if len(ways) >= _DEEPEST:
                        raise unreadable(f"{_MALFORMED}: it is nested too deeply")
                    ways.append((parts(data, start, end), self._inner[inner[number]]))
                    break
            else:
                ways.pop()
        return count
