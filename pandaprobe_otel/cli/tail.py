"""New traces, one per line."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import click

from pandaprobe_otel.cli.options import counted

if TYPE_CHECKING:
    from pandaprobe_otel.api import Client
    from pandaprobe_otel.api.models import TraceListItem

_PAUSE_S: Final = 2.0
"""Seconds between polls: 30 requests a minute, where the server allows 200."""
_LATE: Final = timedelta(minutes=10)
"""Overlap of the polls. Traces are listed by start but only after their end, so traces that started this long ago may
still appear.
"""
_REMEMBERED: Final = 10_000

Latest = dict[UUID, "TraceListItem"]


def print_latest(client: Client, filters: dict[str, Any], lines: int, output_format: str) -> Latest:
    """Print the latest traces, oldest first, and return them."""
    found = client.traces.list(limit=lines, **filters).items
    _print(reversed(found), output_format)
    return {trace.trace_id: trace for trace in found}


def follow(client: Client, filters: dict[str, Any], latest: Latest, output_format: str) -> None:
    """Print new traces until the process is interrupted."""
    seen: dict[UUID, None] = dict.fromkeys(latest)
    since = max((trace.started_at for trace in latest.values()), default=None)
    while True:
        time.sleep(_PAUSE_S)
        new = [trace for trace in _since(client, filters, since) if trace.trace_id not in seen]
        _print(reversed(new), output_format)
        seen.update((trace.trace_id, None) for trace in new)
        while len(seen) > _REMEMBERED:
            del seen[next(iter(seen))]
        since = max([trace.started_at for trace in new] + ([since] if since else []), default=None)


def _since(client: Client, filters: dict[str, Any], since: datetime | None) -> list[TraceListItem]:
    if since is None:
        return client.traces.list(limit=200, **filters).items
    return list(client.traces.iter(started_after=since - _LATE, **filters))


def _print(traces: Iterable[TraceListItem], output_format: str) -> None:
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
