"""Blocks of reports and displays (lines, tables, payloads, folds), and their writers: HTML, Markdown and text.

HTML needs no script, and all content is escaped. Colours are mixed from the text's own colour, so they suit light and
dark themes without knowing which is in use.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from itertools import zip_longest
from textwrap import wrap
from typing import Any, Final

from pandaprobe_otel.traces.text import plain_text, whole_text

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
"""Hue of each style; `SHARE` percent of it is mixed with the theme's text colour. The style `dim` has no hue."""
SHARE: Final = 45
MOST_ROWS: Final = 200
"""Maximum number of rows of a table in a notebook, which keeps its outputs in its file."""
_OF_TERMINAL: Final = {"good": 32, "bad": 31, "unsure": 33, "dim": 2}
_STYLE: Final = (
    "<style>.pandaprobe{font:13px/1.5 system-ui,sans-serif;color:inherit;text-align:left}"
    ".pandaprobe h1,.pandaprobe h3{font-size:15px;margin:.4em 0}"
    ".pandaprobe table{border-collapse:collapse;margin:.4em 0}"
    ".pandaprobe th,.pandaprobe td{text-align:left;vertical-align:top;padding:.15em .8em .15em 0;background:none;"
    "border-bottom:1px solid color-mix(in srgb,currentColor 18%,transparent)}"
    ".pandaprobe pre{white-space:pre-wrap;overflow-wrap:anywhere;max-height:24em;overflow:auto;margin:.2em 0;"
    "padding:.4em .6em;color:inherit;background:color-mix(in srgb,currentColor 7%,transparent);border-radius:4px}"
    ".pandaprobe a{color:inherit}"
    ".pandaprobe summary{cursor:pointer}.pandaprobe .dim{color:color-mix(in srgb,currentColor 72%,transparent)}"
    + "".join(
        f".pandaprobe .{name}{{color:color-mix(in srgb,{colour} {SHARE}%,currentColor)}}"
        for name, colour in COLOURS.items()
    )
    + "</style>"
)
_PAGE: Final = (
    "<meta http-equiv=\"content-security-policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; "
    "base-uri 'none'; form-action 'none'\">"
    '<meta name="viewport" content="width=device-width,initial-scale=1">'
    "<style>:root{color-scheme:light dark}body{margin:2rem auto;max-width:80rem;padding:0 1rem;"
    "color:light-dark(#1c1e21,#e4e6ea);background:light-dark(#fff,#16181c)}</style>"
)
_LONGEST_CODE: Final = 300
"""Maximum number of characters of one text in Markdown."""


@dataclass(frozen=True, slots=True)
class Words:
    """A text with a style of `COLOURS`, or `dim`. `quoted`: others wrote it, so Markdown shows it as code."""

    text: str
    style: str = ""
    link: str | None = None
    quoted: bool = False


@dataclass(frozen=True, slots=True)
class Line:
    """A paragraph of texts that are set apart."""

    parts: Sequence[Words]


@dataclass(frozen=True, slots=True)
class Table:
    """A table."""

    header: Sequence[str]
    rows: Sequence[Sequence[Words]]


@dataclass(frozen=True, slots=True)
class Payload:
    """A value under its name, by line."""

    name: str
    lines: Sequence[Words]


@dataclass(frozen=True, slots=True)
class Fold:
    """Blocks that a click on the summary shows."""

    summary: Sequence[Words]
    blocks: Sequence[Block] = ()
    is_open: bool = field(default=False, kw_only=True)
    indent: int = field(default=0, kw_only=True)
    anchor: str = field(default="", kw_only=True)


Block = Line | Table | Payload | Fold


def text(value: object, style: str = "", link: str | None = None) -> Words:
    """Return a text of ours."""
    return Words(str(value), style, link)


def quoted(value: object, style: str = "", link: str | None = None) -> Words:
    """Return a text that others wrote: a program, a model, a judge."""
    return Words(str(value), style, link, quoted=True)


def line(*parts: Words) -> Line:
    """Return a paragraph."""
    return Line(parts)


def payload(name: str, value: Any, *, most: int | None = None) -> list[Payload]:
    """Return a value under its name, cut to `most` characters; nothing for None."""
    if value is None:
        return []
    shown = whole_text(value, 1)
    cut = f" … {len(shown) - most:,} more characters" if most is not None and len(shown) > most else ""
    return [Payload(name, [quoted(shown[:most] + cut)])]


def more(count: int, things: str, most: int) -> list[Line]:
    """Return a marker with the number of things that are not shown; nothing if all are."""
    return [line(text(f"… {count - most:,} more {things}", "dim"))] if count > most else []


# -- HTML --------------------------------------------------------------------------------------------------------------


def html(title: Sequence[Words], blocks: Iterable[Block], *, most_rows: int = MOST_ROWS, heading: str = "h3") -> str:
    """Return one output of a notebook, whose tables have at most `most_rows` rows."""
    body = "".join(_html(block, most_rows) for block in blocks)
    return f'{_STYLE}<div class="pandaprobe"><{heading}>{_html_run(title)}</{heading}>{body}</div>'


def page(title: Sequence[Words], blocks: Iterable[Block]) -> str:
    """Return a page that loads nothing."""
    name = _html_words(text(" ".join(part.text for part in title)))
    body = html(title, blocks, most_rows=1 << 30, heading="h1")
    head = f'<meta charset="utf-8"><title>{name}</title>{_PAGE}'
    return f'<!doctype html><html lang="en"><head>{head}</head><body><main>{body}</main></body></html>\n'


def _html_run(parts: Iterable[Words], by: str = " ") -> str:
    return by.join(_html_words(part) for part in parts if part.text)


def _html_words(part: Words) -> str:
    # Files are UTF-8, which has no lone surrogates.
    shown = escape(part.text.encode("utf-8", "replace").decode())
    shown = f"<span class={part.style}>{shown}</span>" if part.style else shown
    return shown if part.link is None else f'<a href="{escape(part.link)}">{shown}</a>'


def _html(block: Block, most_rows: int) -> str:
    match block:
        case Line(parts):
            return f"<p>{_html_run(parts, '&ensp;')}</p>" if any(part.text for part in parts) else ""
        case Table(header, rows):
            head = "".join(f"<th scope=col>{_html_words(text(cell))}</th>" for cell in header)
            cells = ("".join(f"<td>{_html_words(cell)}</td>" for cell in row) for row in rows[:most_rows])
            body = "".join(f"<tr>{row}</tr>" for row in cells)
            rest = "".join(_html(each, most_rows) for each in more(len(rows), "rows", most_rows))
            return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{rest}"
        case Payload(name, lines):
            shown = "\n".join(map(_html_words, lines))
            return f"<div class=dim>{_html_words(text(name))}</div><pre tabindex=0>{shown}</pre>"
        case Fold(summary, blocks):
            margin = f' style="margin-left:{1.5 * block.indent:g}em"' if block.indent else ""
            body = "".join(_html(each, most_rows) for each in blocks)
            if not body:
                return f"<div{margin}>{_html_run(summary)}</div>"
            # A browser opens the fold around the target of a link.
            body = f'<div id="{escape(block.anchor)}">{body}</div>' if block.anchor else body
            state = " open" if block.is_open else ""
            return f"<details{margin}{state}><summary>{_html_run(summary)}</summary>{body}</details>"


# -- Markdown ----------------------------------------------------------------------------------------------------------


def markdown(title: Sequence[Words], blocks: Iterable[Block], *, most_rows: int = MOST_ROWS) -> Iterator[str]:
    """Yield the paragraphs of Markdown in which nothing that others wrote mentions anybody or is markup."""
    yield f"### {_markdown_run(title)}"
    yield from filter(None, (_markdown(block, most_rows) for block in blocks))


def code(content: str) -> str:
    """Return a text as code, without mentions, references, links and markup. It also fits into a table."""
    found = " ".join("".join(each if each.isprintable() else " " for each in content).split())
    found = found.replace("|", "\\|") or " "
    if len(found) > _LONGEST_CODE:
        found = found[: _LONGEST_CODE - 1] + "…"
    fence = "`" * (1 + max((len(run) for run in re.findall(r"`+", found)), default=0))
    space = " " if found.startswith("`") or found.endswith("`") else ""
    return f"{fence}{space}{found}{space}{fence}"


def _markdown_run(parts: Iterable[Words]) -> str:
    return " ".join(map(_markdown_words, filter(lambda part: part.text, parts)))


def _markdown_words(part: Words) -> str:
    shown = code(part.text) if part.quoted and part.text else part.text
    if part.link is None or part.link.startswith("#"):
        return shown
    address = re.sub(r"[\s()<>]", lambda match: f"%{ord(match[0]):02X}", part.link)
    return f"[{shown}]({address})"


def _markdown(block: Block, most_rows: int) -> str:
    match block:
        case Line(parts):
            return _markdown_run(parts)
        case Table(header, rows):
            cells = [map(_markdown_words, row) for row in rows[:most_rows]]
            rest = (f"\n{_markdown(each, most_rows)}" for each in more(len(rows), "rows", most_rows))
            names = [name if name.isascii() and name.replace(" ", "").isalpha() else code(name) for name in header]
            return "\n".join([*(f"| {' | '.join(row)} |" for row in (names, ["---"] * len(names), *cells)), *rest])
        case Payload(name, found):
            return f"{name}: {code(' '.join(each.text for each in found))}"
        case Fold(summary, blocks):
            inside = [_markdown(each, most_rows) for each in blocks]
            if any(part.quoted for part in summary):  # Markdown is not read within a summary.
                return "\n".join([f"- {_markdown_run(summary)}", *(f"  - {each}" for each in inside)])
            joined = re.sub(r"\n\n(?=- )", "\n", "\n\n".join(inside))
            return f"<details><summary>{_markdown_run(summary)}</summary>\n\n{joined}\n\n</details>"


# -- text --------------------------------------------------------------------------------------------------------------


def lines_of(blocks: Iterable[Block], *, width: int, has_colours: bool = False) -> list[str]:
    """Return lines for a terminal, which obeys nothing that others wrote. Tables are folded to the width."""

    def words(part: Words) -> str:
        shown, colour = plain_text(part.text), _OF_TERMINAL.get(part.style)
        return f"\x1b[{colour}m{shown}\x1b[0m" if has_colours and colour is not None and shown else shown

    def run(parts: Iterable[Words]) -> str:
        return "  ".join(words(part) for part in parts if part.text)

    lines: list[str] = []
    for block in blocks:
        match block:
            case Line(parts):
                lines += run(parts).split("\n")
            case Table(header, rows):
                lines += _aligned([[Words(cell) for cell in header], *rows], width, words)
            case Payload(name, found):
                lines.append(f"{name}: {plain_text(' '.join(' '.join(each.text for each in found).split()))}")
            case Fold(summary, inside):
                below = lines_of(inside, width=width - 2, has_colours=has_colours)
                lines += [run(summary), *(f"  {each}".rstrip() for each in below)]
    return lines


_LEAST: Final = 8
"""Minimum width of a column of a table, in characters."""


def _aligned(rows: Sequence[Sequence[Words]], width: int, words: Any) -> Iterator[str]:
    """Yield the lines of a table, whose widest columns become narrower until it fits."""
    texts = [[plain_text(cell.text) for cell in row] for row in rows]
    widths = [max(max(map(len, cell.split("\n"))) for cell in column) for column in zip(*texts, strict=True)]
    while sum(widths) + 2 * len(widths) - 2 > width and max(widths) > _LEAST:
        widths[widths.index(max(widths))] -= 1
    for row, found in zip(rows, texts, strict=True):
        folded = [_folded(cell, room) for cell, room in zip(found, widths, strict=True)]
        for parts in zip_longest(*folded, fillvalue=""):
            cells = (f"{part:{room}}" for part, room in zip(parts, widths, strict=True))
            yield "  ".join(words(Words(part, cell.style)) for cell, part in zip(row, cells, strict=True)).rstrip()


def _folded(cell: str, width: int) -> list[str]:
    return [part for each in cell.split("\n") for part in wrap(each, width) or [""]]
