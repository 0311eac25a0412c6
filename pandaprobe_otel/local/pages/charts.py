"""Charts as plain SVG. This module computes coordinates, and the templates draw them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

WIDTH: Final = 560
HEIGHT: Final = 170
_LEFT: Final = 44
_BOTTOM: Final = 24
_TOP: Final = 8
_RIGHT: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A value at a position. `label` is shown when the pointer is over it."""

    x: float
    y: float
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column with a link to the things that it counts."""

    x: float
    y: float
    width: float
    height: float
    label: str
    link: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Trend:
    """A line of scores over time; scores are 0 to 1."""

    points: Sequence[Point]
    path: str
    first: str
    last: str
    threshold_y: float
    grid: Sequence[tuple[float, str]]


def trend_of(buckets: Sequence[Mapping[str, Any]], threshold: float) -> Trend | None:
    """Return the line of a metric's buckets (`bucket`, `avg_score`, `count`); None without any."""
    if not buckets:
        return None
    span = max(len(buckets) - 1, 1)
    inner = WIDTH - _LEFT - _RIGHT
    points = [
        Point(
            x=_LEFT + (inner * index / span if len(buckets) > 1 else inner / 2),
            y=_y(bucket["avg_score"]),
            label=f"{bucket['bucket'][:16].replace('T', ' ')}: {bucket['avg_score']:.3f} ({bucket['count']} scores)",
        )
        for index, bucket in enumerate(buckets)
    ]
    return Trend(
        points=points,
        path="M" + "L".join(f"{point.x:.1f} {point.y:.1f}" for point in points),
        first=buckets[0]["bucket"],
        last=buckets[-1]["bucket"],
        threshold_y=_y(threshold),
        grid=[(_y(value), f"{value:g}") for value in (0.0, 0.5, 1.0)],
    )


def histogram_of(
    buckets: Sequence[Mapping[str, Any]], columns: int, link: Callable[[float, float], str]
) -> list[Column]:
    """Return the columns of a distribution (`bucket`, `bucket_min`, `bucket_max`, `count`).

    `link` returns the address of the things between two scores; empty if they have none.
    """
    counts = {min(bucket["bucket"], columns): 0 for bucket in buckets}
    for bucket in buckets:
        counts[min(bucket["bucket"], columns)] += bucket["count"]
    highest = max(counts.values(), default=0)
    width = (WIDTH - _LEFT - _RIGHT) / columns
    room = HEIGHT - _TOP - _BOTTOM
    return [
        Column(
            x=_LEFT + (number - 1) * width + 2,
            y=_TOP + room * (1 - counts[number] / highest),
            width=width - 4,
            height=room * counts[number] / highest,
            label=f"{(number - 1) / columns:.1f} to {number / columns:.1f}: {counts[number]}",
            link=link((number - 1) / columns, number / columns),
        )
        for number in sorted(counts)
    ]


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


def _y(score: float) -> float:
    return _TOP + (HEIGHT - _TOP - _BOTTOM) * (1 - min(max(score, 0.0), 1.0))
