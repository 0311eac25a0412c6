"""`pandaprobe-otel failures`: failed traces in groups."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import click

from pandaprobe_otel.cli.options import ROWS, option, print_json, with_connection
from pandaprobe_otel.cli.show import show_rows

_BARS: Final = "▁▂▃▄▅▆▇█"


@click.command("failures")
@option("--since", "Earliest start: 7d, 24h, or 2026-01-31.", str, "", show_default=False, metavar="AGE")
@option(
    "--query",
    "Only traces that this search finds: 'tool:refund release:2.3*'.",
    str,
    "",
    show_default=False,
    metavar="QUERY",
)
@option("--limit", "Number of groups to show.", ROWS, 50)
@option(
    "--newest most",
    "Number of failed traces to read, one request each. Not used for a local PandaProbe, which keeps groups.",
    ROWS,
    200,
)
@with_connection
def failures(connect: Callable[..., Any], output_format: str, **wanted: Any) -> None:
    """Show failures: traces that failed alike are one group.

    A local PandaProbe keeps groups, and these are shown. From any other server, the newest failed traces are read and
    grouped by the same rules.
    """
    from pandaprobe_otel.local.search.searchable_fields import SearchError
    from pandaprobe_otel.mcp_server.searching import NotFiltered, SearchingClient

    try:
        with connect(SearchingClient) as client:
            found = client.failures(**wanted)
    except SearchError as error:
        raise click.UsageError(f"{error} (at {error.position})") from None
    except NotFiltered as error:
        raise click.UsageError(str(error)) from None
    if output_format == "json":
        print_json(found)
        return
    show_rows([_row(one) for one in found["items"]])
    for note in _notes(found):
        click.echo(note, err=True)


def _row(one: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "failure": one["name"],
        "traces": one["count"],
        "trend": _bars(one["trend"]),
        "first_seen": _moment(one["first_seen"]),
        "last_seen": _moment(one["last_seen"]),
        "releases": ", ".join(one["releases"]) or None,
        "example": one["example"]["trace_id"],
        "fingerprint": one["fingerprint"],
    }


def _bars(trend: Sequence[int]) -> str:
    top = max(trend, default=0)
    return "".join(_BARS[-(-count * len(_BARS) // top) - 1] if count else " " for count in trend)


def _moment(text: str | None) -> str:
    return "" if text is None else text[:16].replace("T", " ")


def _notes(found: Mapping[str, Any]) -> list[str]:
    notes: list[str] = []
    if found["total"] > len(found["items"]):
        notes.append(f"{len(found['items'])} of {found['total']} groups; --limit shows more")
    if (read := found.get("traces_read")) is not None:
        notes.append(f"the newest {read} of {found['traces_failed']} traces with status ERROR were read")
    return notes
