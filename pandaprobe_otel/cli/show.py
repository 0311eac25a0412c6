"""API answers in the terminal: JSON for programs, tables for people."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, cast

import click

from pandaprobe_otel.cli.options import console, print_json

if TYPE_CHECKING:
    from pandaprobe_otel.api.models import Page

# Columns for models with more fields than fit. On a narrow terminal, columns are dropped from the right, except the id.
_COLUMNS: Final[Mapping[str, str]] = {
    "TraceListItem": "name status latency_ms started_at total_tokens total_cost session_id span_count user_id trace_id",
    "SessionSummary": "has_error trace_count last_trace_at total_tokens total_cost user_id first_trace_at session_id",
    "EvalRun": "name status evaluated_count total_targets failed_count metric_names target_type created_at id",
    "TraceScore": "name value status reason source created_at id trace_id",
    "SessionScore": "name value status reason source created_at id session_id",
    "Monitor": "name status metric_names target_type cadence next_run_at sampling_rate id",
    "Provider": "key name available message",
}

Row = Mapping[str, str]
_ALWAYS: Final = frozenset({"name", "status", "latency_ms", "value", "score"})
_FOLDED: Final = frozenset({"name", "input", "output", "message", "reason"})
"""Columns of free text, which continue on the next line."""
_FOLDED_CHARS: Final = 20
_SHORTEST_ID: Final = 9
_GAP: Final = 2


def show(value: Any, output_format: str) -> None:
    """Print an answer: a model, a list of models, or a page."""
    from pandaprobe_otel.api.models import Page

    if output_format == "json":
        print_json(as_json(value))
    elif isinstance(value, Page):
        _show_page(cast("Any", value))
    elif isinstance(value, list | tuple):
        show_rows(cast("Sequence[Any]", value))
    else:
        _show_one(value)


def as_json(value: Any) -> Any:
    """Return an answer in its JSON form."""
    if isinstance(value, list | tuple):
        return [as_json(item) for item in cast("Sequence[Any]", value)]
    return value.model_dump(mode="json")


def show_rows(rows: Sequence[Any], columns: Sequence[str] | None = None) -> None:
    """Print models or mappings as a table, without empty columns and columns that do not fit the terminal."""
    from rich.table import Table
    from rich.text import Text

    if not rows:
        click.echo("nothing found", err=True)
        return
    first, *others = columns or _columns_of(rows[0])
    there = [first, *(name for name in others if any(_get(row, name) not in (None, []) for row in rows))]
    out = console()
    names, texts = _fitted(there, [{name: _words(_get(row, name)) for name in there} for row in rows], out.width)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in names:
        whole = name.endswith("id") or isinstance(_get(rows[0], name), datetime | StrEnum)
        table.add_column(name, overflow="fold", no_wrap=whole)
    for text in texts:
        table.add_row(*(Text(text[name]) for name in names))
    out.print(table)


def _show_page(page: Page[Any]) -> None:
    show_rows(page.items)
    last = page.offset + len(page.items)
    if last < page.total:
        click.echo(f"{page.offset + 1} to {last} of {page.total}; for more: --all, or --offset {last}", err=True)


def _show_one(value: Any) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, show_header=False)
    for name, field in value.model_dump().items():
        table.add_row(name, Text(_words(field)), style=None)
    console().print(table)


def _columns_of(row: Any) -> Sequence[str]:
    if isinstance(row, dict):
        return [*cast("Mapping[str, Any]", row)]
    kind: Any = type(cast("object", row))
    chosen = _COLUMNS.get(kind.__name__)
    return chosen.split() if chosen else [*kind.model_fields]


def _get(row: Any, name: str) -> Any:
    return cast("Mapping[str, Any]", row).get(name) if isinstance(row, dict) else getattr(row, name)


_WORDS: Final[tuple[tuple[type, Callable[[Any], str]], ...]] = (
    (bool, lambda value: "yes" if value else "no"),
    (float, lambda value: f"{value:.6g}"),
    (datetime, lambda value: value.strftime("%Y-%m-%d %H:%M:%SZ")),
)


def _words(value: Any) -> str:
    if value is None:
        return "-"
    for kind, words in _WORDS:
        if isinstance(value, kind):
            return words(value)
    if isinstance(value, list) and all(isinstance(item, str) for item in cast("Sequence[object]", value)):
        return ", ".join(cast("Sequence[str]", value))
    return str(cast("object", value))


def _fitted(
    names: Sequence[str], rows: Sequence[Mapping[str, str]], width: int
) -> tuple[list[str], list[Mapping[str, str]]]:
    """Return the columns that fit into `width`, and the rows with shortened ids if necessary.

    The first column, names, states, latencies, scores and an id in the last column always stay. The other columns are
    dropped from the right. If that is not enough, the id in the last column is cut in the middle.
    """
    widths = {name: _width(name, [row[name] for row in rows]) for name in names}
    identity = names[-1] if names and names[-1].endswith("id") else ""
    kept = list(names)
    for name in reversed(names[1:]):
        if _total(kept, widths) <= width:
            break
        if name not in _ALWAYS and name != identity:
            kept.remove(name)
    excess = _total(kept, widths) - width
    if excess <= 0 or not identity:
        return kept, list(rows)
    room = max(_SHORTEST_ID, widths[identity] - excess)
    return kept, [{**row, identity: cut_in_the_middle(row[identity], room)} for row in rows]


def cut_in_the_middle(text: str, most: int) -> str:
    """Return a text of at most `most` characters, with an ellipsis in place of its middle."""
    if len(text) <= most:
        return text
    end = (most - 1) // 2
    return f"{text[: most - 1 - end]}…{text[len(text) - end :]}"


def _width(name: str, cells: Sequence[str]) -> int:
    longest = max(map(len, cells), default=0)
    return max(len(name), min(longest, _FOLDED_CHARS) if name in _FOLDED else longest)


def _total(names: Sequence[str], widths: Mapping[str, int]) -> int:
    return sum(widths[name] for name in names) + _GAP * (len(names) - 1)
