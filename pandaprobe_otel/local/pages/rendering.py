"""Templates. They escape everything, since strangers (users, web pages, models) write the content of traces."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from starlette.responses import HTMLResponse, Response

from pandaprobe_otel.local.pages.json_view import json_tree, long_text, value_in
from pandaprobe_otel.local.pages.payload_parts import documents_in, media_in
from pandaprobe_otel.local.pages.rich_text import page_of_markdown, rich_text
from pandaprobe_otel.local.pages.trace_facts import tools_of
from pandaprobe_otel.local.search.language import search_for
from pandaprobe_otel.mapping.outcomes import outcome_in
from pandaprobe_otel.traces.conversation import as_messages, preview, rest_of_messages, with_results
from pandaprobe_otel.traces.text import duration as duration_text

if TYPE_CHECKING:
    from jinja2 import Environment

_HERE: Final = Path(__file__).parent
STATIC: Final = _HERE / "static"
_NOTHING_JUDGED: Final = (
    "coherence assumed",
    "cannot be assessed",
    "nothing to evaluate",
    "No plan found",
    "No evaluable traces",
    "No previous outputs",
)


def page(template: str, status: int = 200, **values: Any) -> Response:
    """Return a rendered page."""
    return HTMLResponse(rendered(template, **values), status_code=status)


def rendered(template: str, **values: Any) -> str:
    """Render a template with values."""
    with page_of_markdown():
        return _environment().get_template(template).render(values)


def _span_link(span_id: str | None = None) -> str:
    return "?view=timeline" if span_id is None else f"?span={span_id}"


def _detail_link(trace_id: str, span_id: str | None = None) -> str:
    return f"/ui/traces/{trace_id}/" + ("summary" if span_id is None else f"spans/{span_id}")


def _markdown_link(trace_id: str, span_id: str | None = None) -> str:
    return f"/ui/traces/{trace_id}/markdown" + ("" if span_id is None else f"?span={span_id}")


@cache
def _environment() -> Environment:
    # Loaded on first use: it takes 5 % of a server's start, and tests rarely open a page.
    from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

    environment = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Any] = {
        "duration": duration,
        "clock": clock,
        "day": day,
        "ago": ago,
        "number": number,
        "short_number": short_number,
        "money": money,
        "preview": preview,
        "json_tree": json_tree,
        "rich_text": rich_text,
        "value_in": value_in,
        "media": media_in,
        "documents": documents_in,
        "with_results": with_results,
        "long_text": long_text,
        "rest_of_messages": rest_of_messages,
        "messages": as_messages,
    }
    environment.filters.update(filters)
    functions: dict[str, Any] = {
        "static": False,
        "tools_of": tools_of,
        "asset": _asset,
        "ticks": ticks,
        "term": search_for,
        "is_vacuous": is_vacuous,
        "outcome_of": outcome_in,
        "span_link": _span_link,
        "detail_link": _detail_link,
        "markdown_link": _markdown_link,
    }
    environment.globals.update(functions)
    return environment


@cache
def _asset(name: str) -> str:
    """Return the address of a static file. It changes with the file's content."""
    digest = hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:10]
    return f"/ui/static/{name}?v={digest}"


def duration(milliseconds: float | None) -> str:
    """Return a duration in the most readable unit; a dash if unknown."""
    return "–" if milliseconds is None else duration_text(milliseconds)


def is_vacuous(score: Mapping[str, Any]) -> bool:
    """Return whether a perfect score only means that there was nothing to judge. It is not shown as a success."""
    return score["value"] in ("1", "1.0") and any(mark in (score["reason"] or "") for mark in _NOTHING_JUDGED)


def ticks(length_ms: float) -> list[tuple[float, str]]:
    """Return the marks of a time axis as per cent and text: about five, at round numbers."""
    if length_ms <= 0:
        return []
    rough = length_ms / 5
    size = 10.0 ** (len(str(int(rough))) - 1) if rough >= 1 else 0.001
    while rough > size * 10:
        size *= 10
    step = next(size * factor for factor in (1, 2, 5, 10, 20) if size * factor >= rough)
    marks: list[tuple[float, str]] = []
    at = 0.0
    while at <= length_ms * 0.9:
        marks.append((100 * at / length_ms, duration(at)))
        at += step
    return marks


def clock(moment: str) -> str:
    """Return the time of day of an ISO 8601 moment, with milliseconds."""
    return datetime.fromisoformat(moment).strftime("%H:%M:%S.%f")[:-3]


def day(moment: str) -> str:
    """Return the date of an ISO 8601 moment."""
    return datetime.fromisoformat(moment).strftime("%Y-%m-%d")


def ago(moment: str) -> str:
    """Return the time since (or until) an ISO 8601 moment."""
    seconds = (datetime.now(UTC) - datetime.fromisoformat(moment)).total_seconds()
    size = abs(seconds)
    if size < 10:
        return "just now" if seconds >= 0 else "now"
    for limit, unit, name in ((60, 1, "s"), (3600, 60, "min"), (86_400, 3600, "h"), (2_592_000, 86_400, "d")):
        if size < limit:
            text = f"{size / unit:.0f} {name}"
            return f"{text} ago" if seconds >= 0 else f"in {text}"
    return day(moment)


def number(value: float | None) -> str:
    """Return a count with thin spaces between thousands; a dash if unknown."""
    if value is None:
        return "–"
    return f"{value:,}".replace(",", "\u202f")


def short_number(value: float | None) -> str:
    """Return a count with k or M from 10,000 on; a dash if unknown."""
    if value is None:
        return "–"
    if abs(value) >= 1_000_000:
        return f"{value / 1_000_000:.1f}M"
    return f"{value / 1000:.1f}k" if abs(value) >= 10_000 else number(value)


def money(value: float | None) -> str:
    """Return an amount of US dollars with as many digits as it needs; a dash if unknown."""
    if value is None:
        return "–"
    if value == 0:
        return "$0"
    return f"${value:,.2f}" if abs(value) >= 1 else f"${value:.6f}".rstrip("0").rstrip(".") or "$0"
