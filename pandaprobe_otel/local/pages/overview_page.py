"""Page of plots: volume, errors, latencies, tokens, cost and scores. Each point links to its traces."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from pandaprobe_otel.local.pages.access import signed_in
from pandaprobe_otel.local.pages.charts import HEIGHT, SMALLEST_SHARE, WIDTH, Column, Plot, columns_of, line_of
from pandaprobe_otel.local.pages.navigation import Context, context_of
from pandaprobe_otel.local.pages.rendering import duration, money, page, short_number
from pandaprobe_otel.local.search.language import as_term, narrowed, parse
from pandaprobe_otel.local.search.searchable_fields import SearchError
from pandaprobe_otel.local.store.overview_figures import GROUPED, Bucket, Figures, Overview
from pandaprobe_otel.local.store.score_figures import SCORED
from pandaprobe_otel.local.store.trace_filter import Search, TraceFilter
from pandaprobe_otel.local.times import DAY, HOUR, MINUTE, iso

router = APIRouter(prefix="/ui", include_in_schema=False, dependencies=[Depends(signed_in)])

_SCORE_LINES: Final = 3
_LENGTHS: Final = {"hour": HOUR, "day": DAY, "week": 7 * DAY, "month": 30 * DAY}


class OverviewQuery(BaseModel, frozen=True):
    """Query of `/ui/overview`. Without `within`, the range covers all existing traces."""

    q: str = ""
    within: Literal["", "hour", "day", "week", "month"] = ""
    project: str | None = None


@router.get("/overview")
def show_overview(request: Request, asked: Annotated[OverviewQuery, Query()]) -> Response:
    """Show statistics of a project's traces over time."""
    context = context_of(request, asked.project, "overview")
    services = context.services
    now = services.now() // MINUTE * MINUTE  # the same for a minute, so that the figures of a range are kept
    overview, wrong = None, None
    try:
        wanted = TraceFilter(
            search=Search(query=parse(asked.q).query, now=now),
            after=now - _LENGTHS[asked.within] if asked.within else None,
        )
        overview = services.queries.overview(context.project_id, wanted, now + MINUTE if asked.within else None)
    except SearchError as error:
        wrong = error
    # The list has no range of a month, so links carry the range as a term.
    after = f"after:{iso(overview.buckets[0].start)}" if asked.within and overview is not None else ""

    def link_to(term: str) -> str:
        return context.link("/ui", q=narrowed(asked.q, f"{term} {after}".strip()))

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


def _plots(context: Context, asked: OverviewQuery, overview: Overview) -> list[Plot]:
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
    slowest = max(max(each.figures.p95_ms or 0, each.first_token_ms or 0) for each in overview.buckets)
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
                line("first token", lambda bucket: bucket.first_token_ms, slowest),
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
