"""Parsing of JSON with a bound on the number of objects."""

from __future__ import annotations

import re
from typing import Any, Final, cast

import orjson

from pandaprobe_otel.gateway.bounds import JSON_BYTES_A_VALUE, JSON_VALUES
from pandaprobe_otel.gateway.errors import OverBoundError

_WEIGHTS: Final = {b"{": 3, b"[": 1, b",": 1}
_NEXT: Final = re.compile(rb'(?:[^"{\[,]++|"(?:[^"\\]++|\\.)*+(?:"|\\?\Z))*+([{\[,]|\Z)', re.DOTALL)
"""Matches up to the next `{`, `[` or `,` outside a string. Nothing is tried twice, so the time per byte is constant."""


def parsed(body: bytes | bytearray, start: int, end: int) -> Any:
    """Return the value between these bytes. Raises OverBoundError above the bound, ValueError for malformed JSON."""
    if end - start > JSON_VALUES:  # A shorter text cannot become so many objects.
        _weigh(body, start, end)
    return orjson.loads(memoryview(body)[start:end])


def _weigh(body: bytes | bytearray, start: int, end: int) -> None:
    """Count marks. Marks inside strings are excluded only if the total is too high, since finding them takes longer."""
    most = JSON_VALUES + (end - start) // JSON_BYTES_A_VALUE
    if sum(body.count(mark, start, end) * weight for mark, weight in _WEIGHTS.items()) <= most:
        return
    at, total = start, 0
    while at < end:
        found = cast("re.Match[bytes]", _NEXT.match(body, at, end))
        at, total = found.end(), total + _WEIGHTS.get(found[1], 0)
        if total > most:
            raise OverBoundError
