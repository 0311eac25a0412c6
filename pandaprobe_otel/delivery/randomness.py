"""Randomness of a trace id, by which all processes that sample a trace make the same decision.

W3C Trace Context (level 2, "random-trace-id flag") promises randomness in the lowest 56 bits of the trace id.
OpenTelemetry's consistent probability sampling keeps a trace if these bits are not below a threshold. So if one process
keeps fewer traces than another, all its traces are among those of the other.
"""

from __future__ import annotations

from typing import Final
from zlib import crc32

_SPACE: Final = 1 << 56


def randomness(trace_id: int) -> float:
    """Return the randomness of a trace id, from 0 to 1 (by rounding, 1 itself is possible)."""
    return (trace_id & (_SPACE - 1)) / _SPACE


def randomness_of_uuid(trace_id: str) -> float:
    """Return the randomness of a PandaProbe trace id (a UUID); for any other text, return a hash."""
    try:
        return int(trace_id[-15:-13] + trace_id[-12:], 16) / _SPACE
    except ValueError:
        return crc32(trace_id.encode("utf-8", "surrogatepass")) / (1 << 32)
