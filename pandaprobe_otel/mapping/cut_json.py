"""Repair of JSON text that a length limit has cut: everything before the cut keeps its structure.

`OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT`, which some vendors recommend, cuts attributes at an arbitrary character. Messages
would become text that cannot be evaluated.
"""

from __future__ import annotations

import re
from typing import Any, Final

from pandaprobe_otel.mapping import exact_json

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
            return exact_json.loads(candidate)
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
