"""Templates and the headers of every page.

What a trace holds is written by strangers (users, web pages, models), so pages escape everything and the browser is
told to run no inline script and to load nothing from another origin.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from starlette.responses import HTMLResponse, Response

_HERE: Final = Path(__file__).parent
STATIC: Final = _HERE / "static"
SECURITY_HEADERS: Final[Mapping[str, str]] = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}


def page(template: str, status: int = 200, **values: Any) -> Response:
    """Return a rendered page."""
    text = _environment().get_template(template).render(values)
    return HTMLResponse(text, status_code=status, headers=dict(SECURITY_HEADERS))


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(duration=duration, clock=clock, day=day, number=number, money=money)
    return environment


def duration(milliseconds: float | None) -> str:
    """Return a length of time in the unit that reads best."""
    if milliseconds is None:
        return "–"
    size = abs(milliseconds)
    if size < 1:
        return f"{milliseconds * 1000:.0f} µs"
    if size < 1000:
        return f"{milliseconds:.0f} ms"
    if size < 60_000:
        return f"{milliseconds / 1000:.2f} s"
    minutes, seconds = divmod(round(milliseconds / 1000), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {seconds:02d} s"


def clock(moment: str) -> str:
    """Return the time of day of an ISO 8601 moment, with milliseconds."""
    return datetime.fromisoformat(moment).strftime("%H:%M:%S.%f")[:-3]


def day(moment: str) -> str:
    """Return the date of an ISO 8601 moment."""
    return datetime.fromisoformat(moment).strftime("%Y-%m-%d")


def number(value: float) -> str:
    """Return a count with thin spaces between thousands."""
    return f"{value:,}".replace(",", "\u202f")


def money(value: float) -> str:
    """Return an amount of US dollars with as many digits as it needs."""
    if value == 0:
        return "$0"
    return f"${value:,.2f}" if abs(value) >= 1 else f"${value:.6f}".rstrip("0").rstrip(".") or "$0"
