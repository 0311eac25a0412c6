"""JSON parser that keeps integers of any size, and the repair of JSON text that a length limit has cut.

orjson rounds integers over 64 bits to floats (measured).

A look at the digits of each text would add an eighth to the cost of mapping an agent's trace (measured). So the mapping
parses with orjson. If the encoded trace then contains a float that may have been such an integer, it maps the trace
again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

import orjson

_SHORTEST: Final = 19
"""Digits of -2**63 - 1, the shortest integer that orjson rounds."""
_STEP: Final = 4
_E: Final = ord("e")
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


def has_large_float(*pieces: bytes) -> bool:
    """Return whether encoded JSON contains a float like 1.8446744073709552e+19: a number, or digits in a text."""
    for encoded in pieces:
        at = encoded.find(b"+")  # a single byte is found ten times as fast as several
        while at >= 0:
            if encoded[at - 1] == _E and encoded[at - 2 : at - 1].isdigit() and encoded[at + 1 : at + 3].isdigit():
                return True
            at = encoded.find(b"+", at + 1)
    return False


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


# -- texts that are cut ----------------------------------------------------------------------------------------------

MARK: Final = "…[cut by OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT]"

_TEXT: Final = r'"[^"\\]*(?:\\(?:u[0-9a-fA-F]{4}|[^u])[^"\\]*)*'
_TOKEN: Final = re.compile(rf'{_TEXT}("?)|[\[\]{{}},]', re.DOTALL)
_PIECE: Final = re.compile(
    rf'\s*(?:{_TEXT}(?:"\s*:?\s*|\\?[^"]{{0,5}}\Z))?'
    r"(?:-?[\d.eE+-]*|t(?:r(?:ue?)?)?|f(?:a(?:l(?:se?)?)?)?|n(?:u(?:ll?)?)?)\s*\Z",
    re.DOTALL,
)
"""Name, number or word of JSON, or its beginning, that may remain of the last item."""
_HALF: Final = re.compile(r"\\u[dD][89abAB][0-9a-fA-F]{2}\Z")
_ESCAPE: Final = 6
_DEEPEST: Final = 250
"""Levels that the server stores; deeper JSON stays text."""
_MIN: Final = 32
_MAX: Final = 1 << 20


def completed(text: str) -> Any:
    """Return the content of cut JSON text, with a mark at the cut; other text is returned unchanged."""
    if not _MIN <= len(text) <= _MAX or text.lstrip()[:1] not in ("[", "{", '"'):
        return text
    closers, last = "", None
    for token in _TOKEN.finditer(text):
        first = text[token.start()]
        if first == '"':
            if token[1]:
                continue
            if len(text) - token.end() >= _ESCAPE:
                return text
            said = _HALF.sub("", text[: token.end()])
            return _parsed(f'{said}{MARK}"{closers}', _without_piece(text, last, closers), text)
        if first in "[{":
            if len(closers) == _DEEPEST:  # each further level would copy all open levels
                return text
            closers = ("]" if first == "[" else "}") + closers
        elif first in "]}":
            if closers[:1] != first:
                return text
            closers = closers[1:]
        last = token
    if not closers:
        return text
    kept = text.rstrip()
    whole = f"{kept},{_mark(closers)}" if kept.endswith('"') else ""
    return _parsed(whole, _without_piece(text, last, closers), text)


def _parsed(whole: str, without_piece: str, text: str) -> Any:
    for candidate in (whole, without_piece):
        try:
            return loads(candidate)
        except ValueError:
            continue
    return text


def _without_piece(text: str, last: re.Match[str] | None, closers: str) -> str:
    """Return the text up to its last complete item, with the mark as another item; empty if the rest is not JSON."""
    if last is None or _PIECE.match(text, last.end()) is None:
        return ""
    kept = text[: last.end() if last[0] != "," else last.start()]
    return f"{kept}{'' if last[0] in '[{' else ','}{_mark(closers)}"


def _mark(closers: str) -> str:
    return f'"{MARK}"{closers}' if closers[:1] == "]" else f'"…":"{MARK}"{closers}'
