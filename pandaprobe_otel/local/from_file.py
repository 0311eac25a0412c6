"""Loading of traces from a file into a local server."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any, Final
from urllib.parse import quote

import orjson

from pandaprobe_otel.local.pages.document import ScoredTrace
from pandaprobe_otel.local.payloads import plain
from pandaprobe_otel.local.server import LocalServer
from pandaprobe_otel.local.store.records import Slice
from pandaprobe_otel.local.store.trace_filter import TraceFilter
from pandaprobe_otel.transport.outcome import Answer, Request, api_key_headers
from pandaprobe_otel.transport.socket_transport import SocketTransport
from pandaprobe_otel.transport.trace_file import Entry, EntryKind, stand_in

PROJECT: Final = "file"
_MAX_SPANS: Final = 500


def load(server: LocalServer, entries: Iterable[Entry]) -> list[tuple[int, str]]:
    """Store a file's entries in the project `file` of a running server. Return the failed lines with the reasons."""
    transport = SocketTransport(server.url, api_key_headers(server.api_key, PROJECT))
    problems: list[tuple[int, str]] = []
    try:
        for entry in _in_order(entries):
            if entry.kind is EntryKind.BAD:
                problems.append((entry.line, str(entry.content)))
            for method, path, body in _requests(entry):
                outcome = transport.send(Request(method=method, path=path, body=orjson.dumps(body)))
                if not isinstance(outcome, Answer):
                    problems.append((entry.line, outcome.reason))
                elif outcome.status >= 300:
                    problems.append((entry.line, outcome.body.decode("utf-8", "replace")[:300]))
    finally:
        transport.close()
    return problems


def _in_order(entries: Iterable[Entry]) -> Iterator[Entry]:
    """Yield each entry after its trace, since a score may precede its trace in a file."""
    known: set[str] = set()
    early: list[Entry] = []
    for entry in entries:
        if entry.kind is EntryKind.TRACE:
            known.add(entry.trace_id)
        if entry.kind in (EntryKind.TRACE, EntryKind.BAD) or entry.trace_id in known:
            yield entry
        else:
            early.append(entry)
    for entry in sorted(early, key=lambda one: one.kind is not EntryKind.SPANS):
        if entry.kind is EntryKind.SPANS and entry.content and entry.trace_id not in known:
            known.add(entry.trace_id)
            yield replace(entry, kind=EntryKind.TRACE, content=stand_in(entry.trace_id, entry.content))
        else:
            yield entry


def records_of(server: LocalServer, most: int) -> tuple[list[ScoredTrace], int]:
    """Return the newest loaded traces, in order and with their scores, and the number of all traces."""
    services = server.services
    project = services.accounts.project_named(services.accounts.home.id, PROJECT).id
    newest = services.queries.traces(project, TraceFilter(), Slice(limit=most))
    scores = services.evaluation.trace_scores
    records: list[ScoredTrace] = []
    for listed in reversed(newest.rows):
        trace_id = listed["trace_id"]
        found = services.traces.get(project, trace_id)
        if found is not None:
            judged = plain(scores.latest(project, [trace_id])[trace_id])
            records.append(ScoredTrace(trace=plain(found), scores=judged))
    return records, newest.total


def _requests(entry: Entry) -> Iterator[tuple[str, str, Any]]:
    content: Any = entry.content
    trace = f"/traces/{quote(entry.trace_id, safe='')}"
    match entry.kind:
        case EntryKind.TRACE:
            spans: list[Any] = content.get("spans") or []
            yield "POST", "/traces", {**content, "spans": spans[:_MAX_SPANS]}
            yield from _appended(trace, spans[_MAX_SPANS:])
        case EntryKind.SPANS:
            yield from _appended(trace, content)
        case EntryKind.UPDATE:
            yield "PATCH", trace, content
        case EntryKind.SCORE:
            yield "POST", "/evaluations/trace-scores", content
        case EntryKind.BAD:
            pass


def _appended(trace: str, spans: list[Any]) -> Iterator[tuple[str, str, Any]]:
    for start in range(0, len(spans), _MAX_SPANS):
        yield "POST", f"{trace}/spans", spans[start : start + _MAX_SPANS]
