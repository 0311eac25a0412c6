"""`pandaprobe-otel failures`: failed traces in groups."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import urlencode

import click

from pandaprobe_otel.cli.options import print_json, with_client
from pandaprobe_otel.cli.show import show_rows

if TYPE_CHECKING:
    from pandaprobe_otel.api import Client

_NEWEST: Final = 200
_BARS: Final = "▁▂▃▄▅▆▇█"
_STATES: Final = ("open", "all", "new", "ongoing", "regressed", "muted", "resolved")


@click.command("failures")
@click.option("--since", metavar="AGE", help="Earliest start: 7d, 24h, or 2026-01-31.")
@click.option("--query", metavar="QUERY", help="Only traces that this search finds: 'tool:refund release:2.3*'.")
@click.option(
    "--state",
    type=click.Choice(_STATES),
    default="open",
    show_default=True,
    help="State of the groups. Needs a local PandaProbe.",
)
@click.option("--limit", type=click.IntRange(1, 200), default=50, show_default=True, help="Number of groups to show.")
@click.option(
    "--hosted",
    type=click.IntRange(1, 10_000),
    is_flag=False,
    flag_value=_NEWEST,
    metavar="[N]",
    help=f"Group the newest N traces with status ERROR ({_NEWEST}), one request each. Used by default if the server "
    "keeps no groups.",
)
@with_client
def failures(client: Client, output_format: str, *, hosted: int | None, **asked: Any) -> None:
    """Show failures: traces that failed alike are one group.

    A local PandaProbe keeps groups with states and names, and these are shown. From any other server, the newest failed
    traces are read and grouped by the same rules.
    """
    found = _kept(client, asked) if hosted is None else None
    if found is None:
        from pandaprobe_otel.cli.hosted_failures import hosted_failures

        found = hosted_failures(client, hosted or _NEWEST, **asked)
    if output_format == "json":
        print_json(found)
        return
    show_rows([_row(one) for one in found["items"]])
    for note in _notes(found):
        click.echo(note, err=True)


def _kept(client: Client, asked: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the groups of a local PandaProbe; None if the server is not a local one.

    Raises UsageError for an invalid search.
    """
    from pandaprobe_otel.api.endpoint import Scope
    from pandaprobe_otel.transport.http import HttpTransport
    from pandaprobe_otel.transport.request_outcome import Answer, Request

    given = {name: value for name, value in asked.items() if value is not None}
    transport = HttpTransport(client.credentials.endpoint, client.credentials.headers[Scope.PROJECT])
    try:
        answer = transport.send(Request(method="GET", path=f"/local/failures?{urlencode(given)}"))
    finally:
        transport.close()
    if not isinstance(answer, Answer) or answer.status not in (200, 422):
        return None  # The API is called instead, and reports the error.
    try:
        content: Any = json.loads(answer.body)
    except ValueError:
        return None
    if answer.status == 422:
        raise click.UsageError(str(_object(content).get("detail") or content))
    return _object(content) if "items" in _object(content) else None


def _object(content: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", content) if isinstance(content, dict) else {}


def _row(one: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "failure": one["name"],
        "traces": one["count"],
        "trend": _bars(one["trend"]),
        "first_seen": _moment(one["first_seen"]),
        "last_seen": _moment(one["last_seen"]),
        "releases": ", ".join(one["releases"]) or None,
        "state": one["state"],
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
    if hidden := found.get("other_states"):
        notes.append(f"{hidden} more in other states; --state all shows them")
    if unread := found.get("unread_traces"):
        notes.append(f"{unread} traces are not grouped yet")
    if (read := found.get("traces_read")) is not None:
        notes.append(f"the newest {read} of {found['traces_failed']} traces with status ERROR were read")
    return notes
