"""JSON as a foldable tree of coloured, escaped text."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable, Sized
from contextlib import suppress
from typing import Any, Final

from markupsafe import Markup, escape

from pandaprobe_otel.traces.json_shapes import list_in, object_in

MAX_SHOWN: Final = 60_000
"""Maximum number of characters of a payload on a page. The raw JSON is complete."""

ONE_LINE: Final = 72
"""Longest value that is shown on one line."""
_MAX_ITEMS: Final = 200
"""Maximum number of members of an object or array that are shown."""
_OPEN_LEVELS: Final = 3
_OPEN_ITEMS: Final = 40
"""Objects and arrays that are deeper or have more members are folded initially."""
_MAX_LITERAL: Final = 20_000
_ODD_ESCAPE: Final = re.compile(r"\\[^\\'\"abfnrtv0-7xuUN\n]")
"""Escape sequences for which Python warns while parsing."""

_PART: Final = Markup('<span class="{}">{}</span>')
_NEW_LINE: Final = Markup('<span class="nl">\\n</span><br>')
_MORE: Final = Markup('<span class="cut">… {} more {}</span>')


def json_tree(value: Any) -> Markup:
    """Return a value as JSON with foldable objects and arrays. Its text without the markup is JSON.

    Long values are cut with a note.
    """
    return Markup("").join(_Tree().value(value, level=0))


def value_in(text: str) -> Any:
    """Return the object or array in a text, written as JSON or as Python; None for any other text."""
    if text.lstrip()[:1] not in ("{", "[", "("):
        return None
    found: Any = None
    with suppress(ValueError, RecursionError):
        found = json.loads(text)
    if found is None and len(text) <= _MAX_LITERAL and _ODD_ESCAPE.search(text) is None:
        with suppress(ValueError, SyntaxError, RecursionError, MemoryError):
            found = ast.literal_eval(text.strip())
    is_structure = object_in(found) is not None or list_in(found) is not None
    return found if is_structure and _is_json(found) else None


def long_text(text: str) -> Markup:
    """Return escaped text. Long text is cut with a note."""
    return escape(text) if len(text) <= MAX_SHOWN else escape(text[:MAX_SHOWN]) + _more(len(text) - MAX_SHOWN)


class _Tree:
    """Writer of one value, within the page's limit of characters."""

    def __init__(self) -> None:
        self._left = MAX_SHOWN

    def value(self, value: Any, *, level: int) -> Iterable[Markup]:
        record, items = object_in(value), list_in(value)
        if (record or items) and (level == 0 or not _fits_a_line(value)):
            members = [("", item) for item in items] if items else list((record or {}).items())
            yield from self._container(members, "[]" if items else "{}", level)
        else:
            yield self._scalar(value)

    def _container(self, members: list[tuple[str, Any]], brackets: str, level: int) -> Iterable[Markup]:
        is_open = level < _OPEN_LEVELS and len(members) <= _OPEN_ITEMS
        unit = "item" if brackets == "[]" else "key"
        count = f"{len(members)} {unit}{'' if len(members) == 1 else 's'}"
        yield Markup('<details class="jt"{}><summary data-count="{}">{}</summary><div class="jt-in">').format(
            Markup(" open") if is_open else "", count, brackets[0]
        )
        for at, (key, item) in enumerate(members):
            if at >= _MAX_ITEMS or self._left <= 0:
                yield _MORE.format(f"{len(members) - at:,}", f"{unit}s")
                break
            yield Markup('<div class="jt-row">')
            if brackets == "{}":
                yield _PART.format("jk", json.dumps(key, ensure_ascii=False)) + ": "
                self._left -= len(key)
            yield from self.value(item, level=level + 1)
            yield Markup("{}</div>").format("," if at < len(members) - 1 else "")
        yield Markup("</div>{}</details>").format(brackets[1])

    def _scalar(self, value: Any) -> Markup:
        room = max(self._left, 0)
        if isinstance(value, str):
            self._left -= len(value)
            lines = [escape(json.dumps(line, ensure_ascii=False)[1:-1]) for line in value[:room].split("\n")]
            shown = _PART.format("js", Markup('"{}"').format(_NEW_LINE.join(lines)))
            return shown + _more(len(value) - room) if len(value) > room else shown
        text = json.dumps(value, ensure_ascii=False)
        self._left -= len(text)
        shown = _PART.format(
            "jn" if isinstance(value, int | float) and not isinstance(value, bool) else "jw", text[:room]
        )
        return shown + _more(len(text) - room) if len(text) > room else shown


def _more(count: int) -> Markup:
    return _MORE.format(f"{count:,}", "characters")


def _fits_a_line(value: Sized) -> bool:
    """Return whether a value fits on one line. Long values are not encoded to find out."""
    return len(value) <= ONE_LINE // 3 and len(json.dumps(value, ensure_ascii=False)) <= ONE_LINE


def _is_json(value: Any) -> bool:
    with suppress(TypeError, ValueError, RecursionError):
        json.dumps(value, allow_nan=False)
        return True
    return False
