"""`pandaprobe-otel traces` and `sessions`: list, read, follow, export, change and delete."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from pandaprobe_otel.api.traces import TraceFilters
from pandaprobe_otel.cli.extras import require
from pandaprobe_otel.cli.options import ROWS, SECONDS, counted, flag, option, print_json, with_client
from pandaprobe_otel.cli.rows import Row, group_of, options_of
from pandaprobe_otel.cli.show import show, show_rows
from pandaprobe_otel.cli.value_types import JSON_OBJECT_FILE

if TYPE_CHECKING:
    from uuid import UUID

    from pandaprobe_otel.api import Client
    from pandaprobe_otel.api.models import Session, Trace, TraceListItem
    from pandaprobe_otel.compact.values import Fence, Shown

_BUDGET: Final = click.IntRange(800, 20_000)  # as in `compact.overview`, which loads more than a help text needs

_PAUSE_S: Final = 2.0
"""Seconds between polls: 30 requests a minute, where the server allows 200."""
_LATE: Final = timedelta(minutes=10)
"""Overlap of the polls. Traces are listed by start but only after their end, so traces that started this long ago may
still appear.
"""
_REMEMBERED: Final = 10_000


def show_trace(trace: Trace, output_format: str) -> None:
    """Print a trace: as a tree for people, as JSON for programs."""
    if output_format == "json":
        show(trace, output_format)
        return
    from pandaprobe_otel.traces.prompt_cache import cache_faults
    from pandaprobe_otel.traces.records import TraceRecord
    from pandaprobe_otel.traces.text import plain_text

    record = TraceRecord(trace.model_dump(mode="json"))
    click.echo(record)
    for fault in cache_faults([record]):
        click.echo(f"prompt cache: {fault}")
    for name in ("session_id", "user_id", "tags", "environment", "release", "total_tokens", "total_cost"):
        if (value := getattr(trace, name)) not in (None, [], 0):
            click.echo(f"{name:12} {plain_text(str(value))}")


def _show_session(session: Session, output_format: str) -> None:
    if output_format == "json":
        show(session, output_format)
        return
    show_rows([session], columns=[name for name in type(session).model_fields if name != "traces"])
    click.echo()
    columns = ["name", "status", "started_at", "input", "output", "total_tokens", "total_cost", "trace_id"]
    show_rows(session.traces, columns=columns)


traces: Final = group_of(
    "traces",
    "List, read, follow, export, change and delete traces.",
    {
        "list": Row(call="traces.list", every="traces.iter", help="List traces, the latest first."),
        "update": Row(
            call="traces.update",
            clears=True,
            show=show_trace,
            help="Change a trace. Omitted fields stay unchanged, tags are replaced, metadata is merged.",
        ),
        "tag": Row(
            call="traces.tag",
            needs="no tags are given: pass --add TAG or --remove TAG",
            help="Add tags to traces and remove tags from them.",
        ),
        "add-spans": Row(
            call="traces.add_spans",
            help="Add spans to a trace, from a JSON file with a list, or from standard input (-).",
        ),
        "update-span": Row(
            call="traces.update_span",
            clears=True,
            help="Change a span. Omitted fields stay unchanged, metadata is merged.",
        ),
        "analytics": Row(
            call="traces.analytics", help="Show volume, errors, latency, cost, tokens or models over time."
        ),
        "users": Row(call="users.list", every="users.iter", help="List the users that have traces."),
    },
)
sessions: Final = group_of(
    "sessions",
    "List, read and delete sessions.",
    {
        "list": Row(
            call="sessions.list",
            every="sessions.iter",
            help="List sessions, those with the most recent traces first.",
        ),
        "get": Row(call="sessions.get", show=_show_session, help="Show a session and all its traces."),
        "delete": Row(call="sessions.delete", help="Delete all traces of a session."),
        "analytics": Row(call="sessions.analytics", help="Show the number and duration of sessions over time."),
    },
)


@traces.command("get")
@click.argument("trace_id")
@option("--wait", "Wait until the server has stored the trace.", SECONDS, 0.0, metavar="SECONDS")
@option("--budget", "Print text of at most this many tokens, failures first.", _BUDGET, metavar="TOKENS")
@option("--part", "With --budget: part to print, as `tree`, `#15`, `#15.input[4000:]`, `output`.", metavar="PART")
@option("--cursor", "With --part tree: cursor of the next page.", metavar="CURSOR")
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
    from pandaprobe_otel.compact.overview import NoPart, overview, part_of

    body = _without_secrets(trace)
    if part is None and cursor is None:
        scores = [score.model_dump(mode="json") for score in client.scores.of_trace(trace)]
        _show_text(overview(body, budget, _fence(), scores=scores), output_format)
        return
    try:
        _show_text(part_of(body, part or "tree", budget, _fence(), cursor=cursor), output_format)
    except NoPart as error:
        raise click.UsageError(str(error)) from None


@traces.command("compare")
@click.argument("trace_a", metavar="A")
@click.argument("trace_b", metavar="B")
@option("--budget", "Maximum number of tokens in the output.", _BUDGET, 1500, metavar="TOKENS")
@with_client
def compare_traces(client: Client, trace_a: str, trace_b: str, budget: int, output_format: str) -> None:
    """Show where two traces diverge: the first difference, then the spans that differ."""
    from pandaprobe_otel.compact.several_traces import compared

    before, after = (_without_secrets(client.traces.get(trace_id)) for trace_id in (trace_a, trace_b))
    _show_text(compared(before, after, budget, _fence()), output_format)


def _show_text(made: Shown, output_format: str) -> None:
    if output_format == "json":
        print_json({"text": made.text, **made.numbers})
    else:
        click.echo(made.text)


def _without_secrets(trace: Trace) -> Any:
    from pandaprobe_otel.replay.scrubbing import Scrubber

    return Scrubber().value(trace.model_dump(mode="json"))


def _fence() -> Fence:
    from pandaprobe_otel.compact.values import Fence

    return Fence(secrets.token_hex(4))


@traces.command("tail")
@option("-n --lines", "Number of latest traces to show.", ROWS, 10)
@flag("-f --follow following", "Print new traces until Ctrl-C.")
@options_of(TraceFilters, without=("sort_by", "sort_order", "started_after", "started_before"))
@with_client
def tail(client: Client, lines: int, following: bool, given: dict[str, Any], output_format: str) -> None:
    """Show the latest traces, one per line; with --format json, one JSON object per line."""
    found = client.traces.list(limit=lines, **given).items
    _print_lines(reversed(found), output_format)
    if following:
        _follow(client, given, found, output_format)


def _follow(client: Client, filters: dict[str, Any], latest: Sequence[TraceListItem], output_format: str) -> None:
    """Print new traces until the process is interrupted."""
    seen: dict[UUID, None] = dict.fromkeys(trace.trace_id for trace in latest)
    since = max((trace.started_at for trace in latest), default=None)
    while True:
        time.sleep(_PAUSE_S)
        new = [trace for trace in _since(client, filters, since) if trace.trace_id not in seen]
        _print_lines(reversed(new), output_format)
        seen.update((trace.trace_id, None) for trace in new)
        while len(seen) > _REMEMBERED:
            del seen[next(iter(seen))]
        since = max([trace.started_at for trace in new] + ([since] if since else []), default=None)


def _since(client: Client, filters: dict[str, Any], since: datetime | None) -> list[TraceListItem]:
    if since is None:
        return client.traces.list(limit=200, **filters).items
    return list(client.traces.iter(started_after=since - _LATE, **filters))


def _print_lines(traces: Iterable[TraceListItem], output_format: str) -> None:
    for trace in traces:
        click.echo(json.dumps(trace.model_dump(mode="json")) if output_format == "json" else _line(trace))


def _line(trace: TraceListItem) -> str:
    latency = "-" if trace.latency_ms is None else f"{trace.latency_ms:.0f} ms"
    words = [f"{trace.started_at:%H:%M:%S}", f"{trace.status:9}", f"{latency:>9}", trace.name]
    if trace.session_id:
        words.append(f"session={trace.session_id}")
    if trace.total_tokens:
        words.append(counted(trace.total_tokens, "token"))
    return "  ".join([*words, str(trace.trace_id)])


@traces.command("export")
@click.argument("trace_ids", nargs=-1)
@options_of(TraceFilters)
@option(
    "--as form",
    "List of traces as in the API, one self-contained HTML page, or Markdown.",
    ["json", "html", "md"],
    "json",
)
@option("-o --output", "File to write. [default: standard output]", str, "-", metavar="FILE")
@with_client
def export(
    client: Client,
    trace_ids: Sequence[str],
    given: dict[str, Any],
    form: str,
    output: str,
    output_format: str,
) -> None:
    """Write whole traces, selected by ids or filters, as JSON, Markdown or one HTML page."""
    if trace_ids and given:
        raise click.UsageError("pass ids or filters, not both")
    ids = trace_ids or [str(trace.trace_id) for trace in client.traces.iter(**given)]
    found = [client.traces.get(trace_id).model_dump(mode="json") for trace_id in ids]
    if form == "html":
        text = _page(client, found, given.get("session_id"))
    elif form == "md":
        from pandaprobe_otel.traces.markdown import markdown
        from pandaprobe_otel.traces.records import TraceRecord

        text = "\n".join(markdown(TraceRecord(trace)) for trace in found)
    else:
        text = json.dumps(found, indent=2, ensure_ascii=False)
    write(text, output, len(found))


def _page(client: Client, traces: list[dict[str, Any]], title: str | None) -> str:
    """Return a page that also has the scores of each trace."""
    require("local", "jinja2", "fastapi")
    from pandaprobe_otel.local.pages.document import ScoredTrace, html_document

    traces.sort(key=lambda trace: str(trace["started_at"]))
    records = [
        ScoredTrace(
            trace=trace,
            scores=[score.model_dump(mode="json") for score in client.scores.of_trace(str(trace["trace_id"]))],
        )
        for trace in traces
    ]
    return html_document(records, title or (str(traces[0]["name"]) if traces else "no traces"))


def write(text: str, output: str, count: int) -> None:
    """Write to a file and report it, or write to standard output (`-`).

    A file is replaced only at the end, so that a failure leaves the old one.
    """
    if output == "-":
        with click.open_file("-", "w", encoding="utf-8") as standard_output:
            standard_output.write(text + "\n")
        return
    try:
        Path(output).write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise click.BadParameter(f"{output} cannot be written: {error.strerror}.", param_hint="--output") from None
    click.echo(f"{counted(count, 'trace')} in {output}", err=True)


@traces.command("create")
@click.argument("file", type=JSON_OBJECT_FILE)
@with_client
def create(client: Client, file: Any, output_format: str) -> None:
    """Post a trace from a JSON file, or from standard input (-). Posting an existing trace overwrites it."""
    show(client.traces.create(**file), output_format)


@traces.command("delete")
@click.argument("trace_ids", nargs=-1, required=True)
@with_client
def delete(client: Client, trace_ids: Sequence[str], output_format: str) -> None:
    """Delete traces."""
    if len(trace_ids) > 1:
        show(client.traces.delete_many(trace_ids), output_format)
        return
    client.traces.delete(trace_ids[0])
    if output_format == "table":
        click.echo(f"deleted trace {trace_ids[0]}")
