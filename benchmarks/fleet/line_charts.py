"""Line charts side by side, as a small SVG for light and dark pages."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Final

_COLOURS: Final = ("#2f6fde", "#1a9c6b", "#c2571a", "#8e44ad", "#b0123b")
_WIDTH, _HEIGHT, _LEFT, _TOP, _GAP = 240, 190, 46, 24, 36


@dataclass(frozen=True, slots=True)
class Chart:
    """Lines by name. Values that are not numbers leave a gap."""

    title: str
    lines: Mapping[str, Sequence[float]]
    is_log: bool = False

    def span(self) -> tuple[float, float]:
        """Return the lowest and highest value of the axis."""
        known = [value for line in self.lines.values() for value in line if math.isfinite(value)]
        if self.is_log:
            return 0.01, 10 ** math.ceil(math.log10(max([*known, 1.0])))
        return 0.0, max([*known, 1.0]) * 1.05

    def height_of(self, value: float) -> float:
        """Return the height of a value from 0, the bottom, to 1."""
        low, high = self.span()
        if self.is_log:
            return math.log(max(value, low) / low) / math.log(high / low)
        return (value - low) / (high - low)

    def ticks(self) -> list[float]:
        """Return the values with a number on the axis."""
        low, high = self.span()
        if self.is_log:
            return [10.0**power for power in range(round(math.log10(low)), round(math.log10(high)) + 1)]
        step = 10 ** math.floor(math.log10(high)) / 4
        step *= next(factor for factor in (1, 2, 4, 8) if high / step / factor <= 6)
        return [step * number for number in range(int(high / step) + 1)]


def write_charts(path: Path, x_title: str, x: Sequence[float], charts: Sequence[Chart]) -> None:
    """Draw charts over one (logarithmic) x axis, with the names of the lines below."""
    names = list(charts[0].lines)
    width = len(charts) * (_LEFT + _WIDTH + _GAP)
    height = _TOP + _HEIGHT + 52 + 18 * len(names)
    box = f'viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="11" fill="#777"'
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" {box}>']
    for number, chart in enumerate(charts):
        parts += _drawn(chart, x, x_title, number * (_LEFT + _WIDTH + _GAP) + _LEFT)
    for number, name in enumerate(names):
        y = _TOP + _HEIGHT + 56 + 18 * number
        colour = _COLOURS[number % len(_COLOURS)]
        parts.append(f'<path d="M{_LEFT} {y - 4}h24" stroke="{colour}" stroke-width="2"/>')
        parts.append(f'<text x="{_LEFT + 32}" y="{y}">{escape(name)}</text>')
    path.write_text("".join([*parts, "</svg>\n"]), encoding="utf-8")


def _drawn(chart: Chart, x: Sequence[float], x_title: str, left: int) -> list[str]:
    def place(value: float) -> float:
        return left + _WIDTH * math.log(value / x[0]) / math.log(x[-1] / x[0])

    def level(value: float) -> float:
        return _TOP + _HEIGHT * (1 - chart.height_of(value))

    parts = [f'<text x="{left}" y="14" font-weight="bold">{escape(chart.title)}</text>']
    for tick in chart.ticks():
        y = f"{level(tick):.1f}"
        parts.append(f'<path d="M{left} {y}h{_WIDTH}" stroke="#999" stroke-opacity="0.3"/>')
        parts.append(f'<text x="{left - 6}" y="{y}" dy="4" text-anchor="end">{tick:g}</text>')
    below = f'y="{_TOP + _HEIGHT + 16}" text-anchor="middle"'
    parts += [f'<text x="{place(value):.1f}" {below}>{value:g}</text>' for value in x]
    middle = left + _WIDTH / 2
    parts.append(f'<text x="{middle}" y="{_TOP + _HEIGHT + 34}" text-anchor="middle">{escape(x_title)}</text>')
    for number, line in enumerate(chart.lines.values()):
        points = [f"{place(at):.1f},{level(y):.1f}" for at, y in zip(x, line, strict=True) if math.isfinite(y)]
        colour = _COLOURS[number % len(_COLOURS)]
        parts.append(f'<polyline points="{" ".join(points)}" fill="none" stroke="{colour}" stroke-width="2"/>')
    return parts
