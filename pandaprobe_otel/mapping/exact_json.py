"""JSON parser that keeps integers of any size.

orjson rounds integers over 64 bits to floats (measured).

A look at the digits of each text would add an eighth to the cost of mapping an agent's trace (measured). So the mapping
parses with orjson. If the encoded trace then contains a float that may have been such an integer, it maps the trace
again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

import orjson

_SHORTEST: Final = 19
"""Digits of -2**63 - 1, the shortest integer that orjson rounds."""
_STEP: Final = 4
_DIGITS: Final = bytes(48 if 48 <= byte <= 57 else 32 for byte in range(256))
_SAMPLED: Final = b"0" * (_SHORTEST // _STEP)
_ALL: Final = b"0" * _SHORTEST


def loads(data: str | bytes) -> Any:
    """Parse JSON, at the speed of orjson if no number is long. Raises ValueError."""
    if may_be_rounded(data):
        try:
            return json.loads(data, parse_constant=_refuse)
        except RecursionError:
            pass  # orjson allows more levels
    return orjson.loads(data)


def may_be_rounded(data: str | bytes) -> bool:
    """Return whether there are enough digits in a row. Every fourth character is enough to rule that out for most."""
    return len(data) >= _SHORTEST and _SAMPLED in _shown(data[::_STEP]) and _ALL in _shown(data)


def _shown(data: str | bytes) -> bytes:
    return (data.encode(errors="replace") if isinstance(data, str) else data).translate(_DIGITS)


parser: Final[ContextVar[Callable[[str], Any]]] = ContextVar("pandaprobe_json_parser", default=orjson.loads)
"""Parser of the JSON texts in spans."""


@contextmanager
def exact_numbers() -> Generator[None]:
    """Parse the JSON texts in spans without rounding."""
    token = parser.set(loads)
    try:
        yield
    finally:
        parser.reset(token)


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")
