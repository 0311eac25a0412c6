"""Tables that fit a narrow terminal by dropping the least important columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

_ALWAYS: Final = frozenset({"name", "status", "latency_ms", "value", "score"})
_FOLDED: Final = frozenset({"name", "input", "output", "message", "reason"})
"""Columns of free text, which continue on the next line."""
_FOLDED_CHARS: Final = 20
_SHORTEST_ID: Final = 9
_GAP: Final = 2

Row = Mapping[str, str]


def fitted(names: Sequence[str], rows: Sequence[Row], width: int) -> tuple[list[str], list[Row]]:
    """Return the columns that fit into `width`, and the rows with shortened ids if necessary.

    The first column, names, states, latencies, scores and an id in the last column always stay. The other columns are
    dropped from the right. If that is not enough, the id in the last column is cut in the middle.
    """
    widths = {name: _width(name, [row[name] for row in rows]) for name in names}
    identity = names[-1] if names and names[-1].endswith("id") else ""
    kept = list(names)
    for name in reversed(names[1:]):
        if _total(kept, widths) <= width:
            break
        if name not in _ALWAYS and name != identity:
            kept.remove(name)
    excess = _total(kept, widths) - width
    if excess <= 0 or not identity:
        return kept, list(rows)
    room = max(_SHORTEST_ID, widths[identity] - excess)
    return kept, [{**row, identity: cut_in_the_middle(row[identity], room)} for row in rows]


def cut_in_the_middle(text: str, most: int) -> str:
    """Return a text of at most `most` characters, with an ellipsis in place of its middle."""
    if len(text) <= most:
        return text
    end = (most - 1) // 2
    return f"{text[: most - 1 - end]}…{text[len(text) - end :]}"


def _width(name: str, cells: Sequence[str]) -> int:
    longest = max(map(len, cells), default=0)
    return max(len(name), min(longest, _FOLDED_CHARS) if name in _FOLDED else longest)


def _total(names: Sequence[str], widths: Mapping[str, int]) -> int:
    return sum(widths[name] for name in names) + _GAP * (len(names) - 1)
