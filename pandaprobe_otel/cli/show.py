"""API answers in the terminal: JSON for programs, tables for people."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, cast

import click

from pandaprobe_otel.cli.fitted_table import fitted
from pandaprobe_otel.cli.options import console, print_json

if TYPE_CHECKING:
    from pandaprobe_otel.api.models import Model, Page

_PAGING: Final = ("limit", "offset")
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


def show_all(rows: Iterable[Model], output_format: str) -> None:
    """Print all rows of a list in the form of a page."""
    found = list(rows)
    if output_format == "json":
        print_json({"items": as_json(found), "total": len(found), "limit": len(found), "offset": 0})
    else:
        show_rows(found)


all_option = click.option("--all", "everything", is_flag=True, help="Show all pages.")


def show_list(
    list_page: Callable[..., Page[Any]],
    iterate: Callable[..., Iterable[Any]],
    given: Mapping[str, Any],
    everything: bool,
    output_format: str,
) -> None:
    """Print a page of a list or, with `everything`, the whole list."""
    if everything:
        show_all(iterate(**{name: value for name, value in given.items() if name not in _PAGING}), output_format)
    else:
        show(list_page(**given), output_format)


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
    names, texts = fitted(there, [{name: _words(_get(row, name)) for name in there} for row in rows], out.width)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in names:
        whole = name.endswith("id") or isinstance(_get(rows[0], name), datetime | StrEnum)
        table.add_column(name, overflow="fold", no_wrap=whole)
    for text in texts:
        table.add_row(*(Text(text[name]) for name in names))
    out.print(table)


def deleted(what: str, output_format: str) -> None:
    """Print the deleted objects. Programs get only the exit code."""
    if output_format == "table":
        click.echo(f"deleted {what}")


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
