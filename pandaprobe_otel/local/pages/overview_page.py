"""Page of plots: volume, errors, latencies, tokens, cost and scores. Each point links to its traces.

Plots are plain SVG: this module computes coordinates, and the templates draw them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Final

from fastapi import Query
from starlette.requests import Request
from starlette.responses import Response

from pandaprobe_otel.local.pages.rendering import duration, money, page, short_number
from pandaprobe_otel.local.pages.site import Asked, Context, context_of, pages_router
from pandaprobe_otel.local.search.language import as_term, narrowed
from pandaprobe_otel.local.store.overview_figures import GROUPED, SCORED, Bucket, Figures, Overview
from pandaprobe_otel.local.times import iso

router = pages_router()

WIDTH: Final = 560
HEIGHT: Final = 170
_BOTTOM: Final = 24
_TOP: Final = 8
SMALLEST_SHARE: Final = 0.01
"""Height of the column for a score of 0, so that the column can be seen and clicked."""
_SCORE_LINES: Final = 3


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


@router.get("/overview")
def show_overview(request: Request, asked: Annotated[Asked, Query()]) -> Response:
    """Show statistics of a project's traces over time."""
    context = context_of(request, asked.project, "overview")
    overview, _, wrong = context.searched(
        asked.q, lambda search: context.services.queries.overview(context.project_id, search)
    )

    def link_to(term: str) -> str:
        return context.link("/ui", q=narrowed(asked.q, term))

    return page(
        "overview.html",
        context=context,
        asked=asked,
        overview=overview,
        link_to=link_to,
        grouped=GROUPED,
        scored=SCORED,
        wrong=wrong,
        plots=[] if overview is None else _plots(context, asked, overview),
        width=WIDTH,
        height=HEIGHT,
    )


def _plots(context: Context, asked: Asked, overview: Overview) -> list[Plot]:
    query = as_term(asked.q)

    def link(bucket: Bucket, more: str = "") -> str:
        terms = (query, more, f"after:{iso(bucket.start)} before:{iso(bucket.end)}")
        return context.link("/ui", q=" ".join(term for term in terms if term))

    links = [link(bucket) for bucket in overview.buckets]

    def columns(value: Callable[[Figures], float], label: Callable[[float], str], top: float) -> list[Column]:
        values = [value(bucket.figures) for bucket in overview.buckets]
        labels = [
            f"{_when(bucket.start)}: {label(found)}" for bucket, found in zip(overview.buckets, values, strict=True)
        ]
        return columns_of([*zip(values, labels, links, strict=True)], top)

    def line(name: str, value: Callable[[Bucket], float | None], top: float) -> tuple[str, str, str]:
        return name, line_of([value(bucket) for bucket in overview.buckets], top), name.replace(" ", "-")

    plot = partial(Plot, first=_when(overview.buckets[0].start), last=_when(overview.buckets[-1].end))
    most = _most(overview, lambda figures: figures.count)
    slowest = max(max(each.figures.p95_ms or 0, each.figures.first_token_ms or 0) for each in overview.buckets)
    tokens, cost = _most(overview, lambda figures: figures.tokens), _most(overview, lambda figures: figures.cost)
    return [
        plot(
            title="Traces and errors",
            top=short_number(int(most)),
            columns=columns(lambda figures: figures.count, lambda count: f"{count:.0f} traces", most),
            marked=columns(lambda figures: figures.errors, lambda count: f"{count:.0f} errors", most),
        ),
        plot(
            title="Time",
            top=duration(slowest),
            measure="p95",
            columns=columns(lambda figures: figures.p95_ms or 0, lambda ms: f"p95 {duration(ms)}", slowest),
            lines=[
                line("p50", lambda bucket: bucket.figures.p50_ms, slowest),
                line("first token", lambda bucket: bucket.figures.first_token_ms, slowest),
            ],
        ),
        plot(
            title="Tokens",
            top=short_number(int(tokens)),
            columns=columns(lambda figures: figures.tokens, lambda count: f"{count:,.0f} tokens", tokens),
        ),
        plot(title="Cost", top=money(cost), columns=columns(lambda figures: figures.cost, money, cost)),
        *([_scores(overview, plot, link)] if overview.scores else []),
    ]


def _scores(overview: Overview, plot: Callable[..., Plot], link: Callable[[Bucket, str], str]) -> Plot:
    """Return the means of the most frequent score as columns, of the next ones as lines. Scores are 0 to 1."""
    first, *others = overview.scores[: 1 + _SCORE_LINES]
    columns = [
        (
            0.0 if mean is None else max(mean, SMALLEST_SHARE),
            f"{_when(bucket.start)}: {first.name} {mean or 0:.3g} ({count} traces)",
            link(bucket, first.search or "scored"),
        )
        for bucket, mean, count in zip(overview.buckets, first.means, first.counts, strict=True)
    ]
    return plot(
        title="Scores",
        top="1",
        measure=first.name,
        columns=columns_of(columns, 1.0),
        lines=[
            (score.name, line_of(score.means, 1.0), f"score-{number}") for number, score in enumerate(others, start=2)
        ],
    )


def _most(overview: Overview, value: Callable[[Figures], float]) -> float:
    return max(value(bucket.figures) for bucket in overview.buckets)


def _when(moment: int) -> str:
    return iso(moment)[:16].replace("T", " ")


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
