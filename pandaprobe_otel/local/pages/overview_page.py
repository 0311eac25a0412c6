"""Page of plots: volume, errors, latencies, tokens, cost and scores. Each point links to its traces.

Plots are plain SVG: this module computes shares of the height, and the template draws them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Final, TypeAlias

from fastapi import Query
from starlette.requests import Request
from starlette.responses import Response

from pandaprobe_otel.local.pages.rendering import duration, money, page, short_number
from pandaprobe_otel.local.pages.site import Asked, Context, context_of, pages_router
from pandaprobe_otel.local.search.language import as_term, narrowed
from pandaprobe_otel.local.store.overview_figures import GROUPED, SCORED, Overview
from pandaprobe_otel.local.times import iso

router = pages_router()

SMALLEST_SHARE: Final = 0.01
"""Height of the column for a score of 0, so that the column can be seen and clicked."""
_SCORE_LINES: Final = 3

Values: TypeAlias = Sequence[float | None]
"""A value for each interval; None if it has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """A plot of columns, marked parts of them, and lines, each with a legend. `top` is the value of its upper edge.

    Columns have a share of the height, a label and a link, marked parts a share and a label. Lines have a name, a CSS
    class and a share for each column, or None. `measure` is the legend of the columns, where the title does not name
    them. `first` and `last` mark the ends of the axis.
    """

    title: str
    top: str
    first: str
    last: str
    measure: str
    columns: Sequence[tuple[float, str, str]]
    marked: Sequence[tuple[float, str]]
    lines: Sequence[tuple[str, str, Values]]


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
    )


def _plots(context: Context, asked: Asked, overview: Overview) -> list[Plot]:
    plot = partial(_plot, context, asked, overview)
    figures = [bucket.figures for bucket in overview.buckets]
    plots = [
        plot(
            "Traces and errors",
            [each.count for each in figures],
            [f"{each.count} traces" for each in figures],
            _whole,
            marked=[each.errors for each in figures],
        ),
        plot(
            "Time",
            [each.p95_ms for each in figures],
            [f"p95 {duration(each.p95_ms)}" for each in figures],
            duration,
            measure="p95",
            lines=[
                ("p50", "p50", [each.p50_ms for each in figures]),
                ("first token", "first-token", [each.first_token_ms for each in figures]),
            ],
        ),
        plot("Tokens", [each.tokens for each in figures], [f"{each.tokens:,} tokens" for each in figures], _whole),
        plot("Cost", [each.cost for each in figures], [money(each.cost) for each in figures], money),
    ]
    if overview.scores:  # The most frequent score as columns, the next ones as lines. Scores are 0 to 1.
        first, *others = overview.scores[: 1 + _SCORE_LINES]
        pairs = zip(first.means, first.counts, strict=True)
        plots += [
            plot(
                "Scores",
                [None if mean is None else max(mean, SMALLEST_SHARE) for mean in first.means],
                [f"{first.name} {mean or 0:.3g} ({count} traces)" for mean, count in pairs],
                _whole,
                top=1.0,
                more=first.search or "scored",
                measure=first.name,
                lines=[(score.name, f"score-{number}", score.means) for number, score in enumerate(others, start=2)],
            )
        ]
    return plots


def _plot(
    context: Context,
    asked: Asked,
    overview: Overview,
    title: str,
    values: Values,
    labels: Sequence[str],
    shown: Callable[[float], str],
    *,
    top: float | None = None,
    more: str = "",
    measure: str = "",
    marked: Sequence[int] = (),
    lines: Sequence[tuple[str, str, Values]] = (),
) -> Plot:
    """Return a plot of one value for each interval. `more` is the search that its links add to that of the page."""
    if top is None:
        top = max(value or 0 for series in (values, *(line for _, _, line in lines)) for value in series)
    starts = [iso(bucket.start)[:16].replace("T", " ") for bucket in overview.buckets]
    ends = [iso(bucket.end) for bucket in overview.buckets]

    def shares(series: Values) -> list[float | None]:
        return [None if value is None or not top else min(value / top, 1.0) for value in series]

    def link_of(start: int, end: str) -> str:
        terms = (as_term(asked.q), more, f"after:{iso(start)} before:{end}")
        return context.link("/ui", q=" ".join(term for term in terms if term))

    links = [link_of(bucket.start, end) for bucket, end in zip(overview.buckets, ends, strict=True)]
    named = [f"{start}: {label}" for start, label in zip(starts, labels, strict=True)]
    errors = zip(shares(marked), starts, marked, strict=False)
    return Plot(
        title=title,
        top=shown(top),
        first=starts[0],
        last=ends[-1][:16].replace("T", " "),
        measure=measure,
        columns=[(share or 0.0, label, link) for share, label, link in zip(shares(values), named, links, strict=True)],
        marked=[(share or 0.0, f"{start}: {count} errors") for share, start, count in errors],
        lines=[(name, kind, shares(line)) for name, kind, line in lines],
    )


def _whole(value: float) -> str:
    return short_number(int(value))
