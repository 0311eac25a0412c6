"""Charts as plain SVG. This module computes coordinates, and the templates draw them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

WIDTH: Final = 560
HEIGHT: Final = 170
_BOTTOM: Final = 24
_TOP: Final = 8
SMALLEST_SHARE: Final = 0.01
"""Height of the column for a score of 0, so that the column can be seen and clicked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column with a link to the things that it counts; the link is empty if no page lists them."""

    x: float
    y: float
    width: float
    height: float
    label: str
    link: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """A plot of columns, marked parts of them, and lines, each with a legend. `top` is the value of its upper edge.

    `measure` is the legend of the columns, where the title does not name them. `first` and `last` mark the ends of the
    axis.
    """

    title: str
    top: str
    first: str
    last: str
    measure: str = ""
    columns: Sequence[Column] = ()
    marked: Sequence[Column] = ()
    lines: Sequence[tuple[str, str, str]] = ()


def columns_of(values: Sequence[tuple[float, str, str]], top: float) -> list[Column]:
    """Return a column for each value, its label and its link. `top` is the value of the upper edge."""
    width, room = (WIDTH - 8) / max(len(values), 1), HEIGHT - _TOP - _BOTTOM
    heights = [room * min(value / top, 1.0) if top > 0 else 0.0 for value, _, _ in values]
    return [
        Column(
            x=4 + at * width + 1,
            y=_TOP + room - heights[at],
            width=width - 2,
            height=heights[at],
            label=label,
            link=link,
        )
        for at, (_, label, link) in enumerate(values)
    ]


def line_of(values: Sequence[float | None], top: float) -> str:
    """Return the path of a line through the centres of the columns. It has gaps at missing values.

    A value between two gaps is as wide as its column, since a line through one point could not be seen.
    """
    if top <= 0:
        return ""
    width, room = (WIDTH - 8) / max(len(values), 1), HEIGHT - _TOP - _BOTTOM
    parts: list[list[tuple[float, float]]] = [[]]
    for at, value in enumerate(values):
        if value is None:
            parts.append([])
        else:
            parts[-1].append((4 + (at + 0.5) * width, _TOP + room * (1 - min(value / top, 1.0))))
    return "".join(_path(part, width - 2) for part in parts if part)


def _path(points: Sequence[tuple[float, float]], width: float) -> str:
    if len(points) == 1:
        [(x, y)] = points
        return f"M{x - width / 2:.1f} {y:.1f}h{width:.1f}"
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
