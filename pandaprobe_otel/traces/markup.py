"""HTML for notebooks: escaped, without scripts, in the colours of the notebook's own theme.

Colours are mixed from the text's own colour, so they suit light and dark themes without knowing which is in use. A
notebook keeps its outputs in its file, so long values are cut, with a marker.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any, Final, NewType

from pandaprobe_otel.mapping.clean import encode

Markup = NewType("Markup", str)
"""Text that is already HTML. The function `text` makes it from other text."""

COLOURS: Final[Mapping[str, str]] = {
    "good": "#1f9d63",
    "bad": "#e5484d",
    "unsure": "#c98a1b",
    "agent": "#7c5cf0",
    "llm": "#2f7de1",
    "tool": "#c9781b",
    "retriever": "#159a8c",
    "embedding": "#d0489f",
}
"""Hue of each class; `SHARE` percent of it is mixed with the theme's text colour."""
SHARE: Final = 45
MOST_ROWS: Final = 200
_STYLE: Final = (
    "<style>.pandaprobe{font:13px/1.5 system-ui,sans-serif;color:inherit;text-align:left}"
    ".pandaprobe h3{font-size:15px;margin:.4em 0}.pandaprobe table{border-collapse:collapse;margin:.4em 0}"
    ".pandaprobe th,.pandaprobe td{text-align:left;vertical-align:top;padding:.15em .8em .15em 0;background:none;"
    "border-bottom:1px solid color-mix(in srgb,currentColor 18%,transparent)}"
    ".pandaprobe pre{white-space:pre-wrap;overflow-wrap:anywhere;max-height:24em;overflow:auto;margin:.2em 0;"
    "padding:.4em .6em;color:inherit;background:color-mix(in srgb,currentColor 7%,transparent);border-radius:4px}"
    ".pandaprobe summary{cursor:pointer}.pandaprobe .dim{color:color-mix(in srgb,currentColor 72%,transparent)}"
    + "".join(
        f".pandaprobe .{name}{{color:color-mix(in srgb,{colour} {SHARE}%,currentColor)}}"
        for name, colour in COLOURS.items()
    )
    + "</style>"
)


def text(value: object, style: str = "") -> Markup:
    """Return a value as escaped text, with a class of `COLOURS` or `dim` if given."""
    # A notebook is saved as UTF-8, which has no lone surrogates.
    shown = escape(str(value).encode("utf-8", "replace").decode())
    return Markup(f"<span class={style}>{shown}</span>" if style else shown)


def joined(parts: Iterable[Markup], by: str = "") -> Markup:
    """Return the parts joined."""
    return Markup(escape(by).join(parts))


def output(title: Markup, *parts: Markup) -> str:
    """Return the HTML of one output."""
    return f'{_STYLE}<div class="pandaprobe"><h3>{title}</h3>{joined(parts)}</div>'


def line(*parts: Markup) -> Markup:
    """Return a paragraph with the parts set apart; empty if there are none."""
    shown = [part for part in parts if part]
    return Markup(f"<p>{'&ensp;'.join(shown)}</p>") if shown else Markup("")


def table(header: Sequence[str], rows: Sequence[Sequence[Markup]]) -> Markup:
    """Return a table of at most `MOST_ROWS` rows, with the number of the others."""
    head = "".join(f"<th scope=col>{text(cell)}</th>" for cell in header)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows[:MOST_ROWS])
    return Markup(f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more(len(rows), 'rows')}")


def more(count: int, things: str, most: int = MOST_ROWS) -> Markup:
    """Return a marker with the number of things that are not shown."""
    return line(text(f"… {count - most:,} more {things}", "dim")) if count > most else Markup("")


def folded(summary: Markup, *parts: Markup, is_open: bool = False, indent: int = 0) -> Markup:
    """Return parts that a click on the summary shows; the summary alone if there are none."""
    margin = f' style="margin-left:{1.5 * indent:g}em"' if indent else ""
    body = joined(parts)
    if not body:
        return Markup(f"<div{margin}>{summary}</div>")
    return Markup(f"<details{margin}{' open' if is_open else ''}><summary>{summary}</summary>{body}</details>")


def field(name: str, value: Any, *, most: int) -> Markup:
    """Return a value under its name, cut to `most` characters; empty for None."""
    if value is None:
        return Markup("")
    shown = value if isinstance(value, str) else encode(value)
    cut = text(f" … {len(shown) - most:,} more characters", "dim") if len(shown) > most else ""
    return Markup(f"<div class=dim>{text(name)}</div><pre tabindex=0>{text(shown[:most])}{cut}</pre>")
