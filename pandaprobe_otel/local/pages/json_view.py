"""JSON as coloured, escaped text."""

from __future__ import annotations

import json
import re
from typing import Any, Final

from markupsafe import Markup, escape

MAX_SHOWN: Final = 60_000
"""Characters of a payload that a page shows; the whole stands behind the raw JSON."""

ONE_LINE: Final = 72
"""Up to this length a value stands on one line."""

_TOKEN: Final = re.compile(
    r'(?P<key>"(?:[^"\\]|\\.)*"(?=:))|(?P<string>"(?:[^"\\]|\\.)*")|(?P<word>\b(?:true|false|null)\b)|'
    r"(?P<number>-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)"
)
_CLASSES: Final = {"key": "jk", "string": "js", "word": "jw", "number": "jn"}


def json_markup(value: Any) -> Markup:
    """Return a value as indented JSON with its parts marked for colour; long ones are cut and say so."""
    text = json.dumps(value, ensure_ascii=False)
    if len(text) > ONE_LINE:
        text = json.dumps(value, ensure_ascii=False, indent=2)
    shown = text[:MAX_SHOWN]
    pieces: list[Markup] = []
    position = 0
    for match in _TOKEN.finditer(shown):
        pieces.append(escape(shown[position : match.start()]))
        kind = match.lastgroup or "word"
        pieces.append(Markup('<span class="{}">{}</span>').format(_CLASSES[kind], match.group()))
        position = match.end()
    pieces.append(escape(shown[position:]))
    if len(text) > MAX_SHOWN:
        pieces.append(Markup('<span class="cut">… {} more characters</span>').format(f"{len(text) - MAX_SHOWN:,}"))
    return Markup("").join(pieces)


def long_text(text: str) -> Markup:
    """Return text, escaped; long text is cut and says so."""
    if len(text) <= MAX_SHOWN:
        return escape(text)
    note = Markup('<span class="cut">… {} more characters</span>').format(f"{len(text) - MAX_SHOWN:,}")
    return escape(text[:MAX_SHOWN]) + note
