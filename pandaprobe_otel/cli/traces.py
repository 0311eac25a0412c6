"""`pandaprobe-otel traces`: list, read, follow, export, change and delete traces."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, cast

import click

from pandaprobe_otel.api.fields import Paging
from pandaprobe_otel.api.traces import (
    SpanArguments,
    SpanChanges,
    TraceAnalyticsQuery,
    TraceChanges,
    TraceFilters,
    TraceListQuery,
)
from pandaprobe_otel.cli.api_client import with_client
from pandaprobe_otel.cli.argument_options import options_of
from pandaprobe_otel.cli.export import export_options, export_traces
from pandaprobe_otel.cli.options import console
from pandaprobe_otel.cli.show import all_option, deleted, show, show_list
from pandaprobe_otel.cli.tail import follow, print_latest
from pandaprobe_otel.cli.value_types import JsonFile

if TYPE_CHECKING:
    from pandaprobe_otel.api import Client
    from pandaprobe_otel.api.models import Trace

_BUDGET: Final = click.IntRange(800, 20_000)  # as in `compact.overview`, which loads more than a help text needs


@click.group("traces")
def traces() -> None:
    """List, read, follow, export, change and delete traces."""


@traces.command("list")
@options_of(TraceListQuery)
@all_option
@with_client
def list_traces(client: Client, given: dict[str, Any], everything: bool, output_format: str) -> None:
    """List traces, the latest first."""
    show_list(client.traces.list, client.traces.iter, given, everything, output_format)


@traces.command("get")
@click.argument("trace_id")
@click.option(
    "--wait",
    type=click.FloatRange(min=0),
    default=0.0,
    metavar="SECONDS",
    help="Wait until the server has stored the trace.",
)
@click.option(
    "--budget", type=_BUDGET, metavar="TOKENS", help="Print text of at most this many tokens, failures first."
)
@click.option(
    "--part", metavar="PART", help="With --budget: part to print, as `tree`, `#15`, `#15.input[4000:]`, `output`."
)
@click.option("--cursor", metavar="CURSOR", help="With --part tree: cursor of the next page.")
@with_client
def get_trace(
    client: Client,
    trace_id: str,
    output_format: str,
    *,
    wait: float,
    budget: int | None,
    part: str | None,
    cursor: str | None,
) -> None:
    """Show a trace with its spans."""
    trace = client.traces.wait_visible(trace_id, wait) if wait else client.traces.get(trace_id)
    if budget is None:
        if part or cursor:
            raise click.UsageError("--part and --cursor need --budget")
        show_trace(trace, output_format)
        return
    from pandaprobe_otel.cli.compact import show_compact

    show_compact(client, trace, budget, output_format, part=part, cursor=cursor)


@traces.command("compare")
@click.argument("trace_a", metavar="A")
@click.argument("trace_b", metavar="B")
@click.option(
    "--budget",
    type=_BUDGET,
    metavar="TOKENS",
    default=1500,
    show_default=True,
    help="Maximum number of tokens in the output.",
)
@with_client
def compare_traces(client: Client, trace_a: str, trace_b: str, budget: int, output_format: str) -> None:
    """Show where two traces diverge: the first difference, then the spans that differ."""
    from pandaprobe_otel.cli.compact import show_comparison

    show_comparison(client.traces.get(trace_a), client.traces.get(trace_b), budget, output_format)


@traces.command("tail")
@click.option(
    "-n", "--lines", type=click.IntRange(1, 200), default=10, show_default=True, help="Number of latest traces to show."
)
@click.option("-f", "--follow", "following", is_flag=True, help="Print new traces until Ctrl-C.")
@options_of(TraceFilters, without=("sort_by", "sort_order", "started_after", "started_before"))
@with_client
def tail(client: Client, lines: int, following: bool, given: dict[str, Any], output_format: str) -> None:
    """Show the latest traces, one per line; with --format json, one JSON object per line."""
    latest = print_latest(client, given, lines, output_format)
    if following:
        follow(client, given, latest, output_format)


@traces.command("export")
@click.argument("trace_ids", nargs=-1)
@options_of(TraceFilters)
@export_options
@with_client
def export(
    client: Client, trace_ids: Sequence[str], given: dict[str, Any], form: str, output: str, output_format: str
) -> None:
    """Write whole traces, selected by ids or filters, as JSON, OTLP/JSON, Markdown or one HTML page."""
    if trace_ids and given:
        raise click.UsageError("pass ids or filters, not both")
    ids = trace_ids or [str(trace.trace_id) for trace in client.traces.iter(**given)]
    title = given.get("session_id") or ""
    export_traces(client, (client.traces.get(trace_id) for trace_id in ids), form, output, title)


@traces.command("create")
@click.argument("file", type=JsonFile())
@with_client
def create(client: Client, file: Any, output_format: str) -> None:
    """Post a trace from a JSON file, or from standard input (-). Posting an existing trace overwrites it."""
    show(client.traces.create(**_object(file)), output_format)


@traces.command("update")
@click.argument("trace_id")
@options_of(TraceChanges)
@click.option("--clear", multiple=True, metavar="FIELD", help="Field to clear. May be repeated.")
@with_client
def update(client: Client, trace_id: str, given: dict[str, Any], clear: Sequence[str], output_format: str) -> None:
    """Change a trace. Omitted fields stay unchanged, tags are replaced, metadata is merged."""
    changes: Any = {**given, **dict.fromkeys(clear)}
    show_trace(client.traces.update(trace_id, **changes), output_format)


@traces.command("delete")
@click.argument("trace_ids", nargs=-1, required=True)
@with_client
def delete(client: Client, trace_ids: Sequence[str], output_format: str) -> None:
    """Delete traces."""
    if len(trace_ids) == 1:
        client.traces.delete(trace_ids[0])
        deleted(f"trace {trace_ids[0]}", output_format)
    else:
        show(client.traces.delete_many(trace_ids), output_format)


@traces.command("tag")
@click.argument("trace_ids", nargs=-1, required=True)
@click.option("--add", multiple=True, metavar="TAG", help="Tag to add. May be repeated.")
@click.option("--remove", multiple=True, metavar="TAG", help="Tag to remove. May be repeated.")
@with_client
def tag(
    client: Client, trace_ids: Sequence[str], add: Sequence[str], remove: Sequence[str], output_format: str
) -> None:
    """Add tags to traces and remove tags from them."""
    if not add and not remove:
        raise click.UsageError("no tags are given: pass --add TAG or --remove TAG")
    show(client.traces.tag(trace_ids, add=add, remove=remove), output_format)


@traces.command("add-spans")
@click.argument("trace_id")
@click.argument("file", type=JsonFile())
@with_client
def add_spans(client: Client, trace_id: str, file: Any, output_format: str) -> None:
    """Add spans to a trace, from a JSON file with a list, or from standard input (-)."""
    spans = cast("list[SpanArguments]", file if isinstance(file, list) else [file])
    show(client.traces.add_spans(trace_id, spans), output_format)


@traces.command("update-span")
@click.argument("trace_id")
@click.argument("span_id")
@options_of(SpanChanges)
@click.option("--clear", multiple=True, metavar="FIELD", help="Field to clear. May be repeated.")
@with_client
def update_span(
    client: Client, trace_id: str, span_id: str, given: dict[str, Any], clear: Sequence[str], output_format: str
) -> None:
    """Change a span. Omitted fields stay unchanged, metadata is merged."""
    changes: Any = {**given, **dict.fromkeys(clear)}
    show(client.traces.update_span(trace_id, span_id, **changes), output_format)


@traces.command("analytics")
@options_of(TraceAnalyticsQuery)
@with_client
def analytics(client: Client, given: dict[str, Any], output_format: str) -> None:
    """Show volume, errors, latency, cost, tokens or models over time."""
    show(client.traces.analytics(**given), output_format)


@traces.command("users")
@options_of(Paging)
@all_option
@with_client
def users(client: Client, given: dict[str, Any], everything: bool, output_format: str) -> None:
    """List the users that have traces."""
    show_list(client.users.list, client.users.iter, given, everything, output_format)


def show_trace(trace: Trace, output_format: str) -> None:
    """Print a trace: as a tree for people, as JSON for programs."""
    if output_format == "json":
        show(trace, output_format)
        return
    from pandaprobe_otel.traces.text import trace_tree

    out = console()
    out.print(trace_tree(trace.model_dump(mode="json")))
    for name in ("session_id", "user_id", "tags", "environment", "release", "total_tokens", "total_cost"):
        if (value := getattr(trace, name)) not in (None, [], 0):
            out.print(f"{name:12} {value}", markup=False)


def _object(content: Any) -> Any:
    if not isinstance(content, dict):
        raise click.UsageError("the file must contain one JSON object")
    return cast("Any", content)
