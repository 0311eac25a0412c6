"""Delivery of a file of traces: those that `init(local=...)` wrote, or requests that the server refused before."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

import orjson

from pandaprobe_otel.delivery.budget import LeasedBucket
from pandaprobe_otel.delivery.ledger import Ledger
from pandaprobe_otel.delivery.notices import IN_FILE, Notices
from pandaprobe_otel.delivery.outbox import Outbox
from pandaprobe_otel.delivery.parcel import Parcel, Step
from pandaprobe_otel.delivery.policy import DeliveryPolicy
from pandaprobe_otel.delivery.sender_pool import SenderPool
from pandaprobe_otel.mapping.encoded_spans import EncodedSpans
from pandaprobe_otel.transport.outcome import Transport, VerdictKind
from pandaprobe_otel.transport.trace_file import Entry, EntryKind, read_entries, stand_in

_BATCH: Final = 100
"""Lines in memory at a time: as many as can be sent in a minute."""
_LOOK_EVERY_S: Final = 0.5
_POINTLESS: Final = (VerdictKind.QUOTA, VerdictKind.AUTH, VerdictKind.PROJECT, VerdictKind.REDIRECTED)
"""Answers that stay the same until somebody removes their cause."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """Result of sending a file. `stopped_at` is the line to continue from; None if the end was reached."""

    traces: int
    spans: int
    dropped: Mapping[str, int]
    scores_dropped: Mapping[str, int]
    bad_lines: tuple[tuple[int, str], ...]
    last_error: str | None
    stopped_at: int | None


def send_file(
    path: Path,
    transport: Transport,
    project: str,
    *,
    from_line: int = 1,
    progress: Callable[[int], None] | None = None,
    bucket: LeasedBucket | None = None,
) -> Sent:
    """Send the lines of a file, in order, as fast as the rate limit allows.

    Sending a line twice is harmless (ids stay), but billed. Returns when all lines are sent, or as soon as the server
    refuses for a cause that only the user can remove. `progress` is called with the number of the newest line that is
    done. Raises OSError if the file cannot be read.
    """
    ledger = Ledger()
    pool = SenderPool(
        policy=lambda: DeliveryPolicy(
            outbox=Outbox(1 << 40),
            bucket=bucket or LeasedBucket(),
            ledger=ledger,
            notices=Notices(time.monotonic, waiting=IN_FILE),
            project=project,
        ),
        transport=transport,
    )
    created = {entry.trace_id for entry in read_entries(path) if entry.kind is EntryKind.TRACE}
    bad: list[tuple[int, str]] = []
    stopped_at: int | None = None
    try:
        lines = (entry for entry in read_entries(path) if entry.line >= from_line)
        while batch := tuple(islice(lines, _BATCH)):
            bad += [(entry.line, str(entry.content)) for entry in batch if entry.kind is EntryKind.BAD]
            for request in _requests(batch, created):
                ledger.ended(request.span_count)
                pool.put((request,))
            if not _wait(pool, ledger):
                stopped_at = batch[0].line
                break
            if progress is not None:
                progress(batch[-1].line)
    finally:
        last_error = pool.policy.last_error
        pool.close(time.monotonic())
    counts = ledger.read()
    return Sent(
        traces=counts.traces_delivered,
        spans=counts.delivered,
        dropped=_before_end(counts.dropped),
        scores_dropped=_before_end(counts.scores_dropped),
        bad_lines=tuple(bad),
        last_error=last_error,
        stopped_at=stopped_at,
    )


def _before_end(dropped: Mapping[str, int]) -> dict[str, int]:
    """Return the counts without those of the end: after a stop, the rest of the file is sent by the next call."""
    return {reason: count for reason, count in dropped.items() if reason != "shutdown"}


def _wait(pool: SenderPool, ledger: Ledger) -> bool:
    """Wait until a batch is done; return False if the server refuses all of it."""
    while not pool.wait_idle(time.monotonic() + _LOOK_EVERY_S):
        if not ledger.read().answers.keys().isdisjoint(_POINTLESS):
            return False
    return True


def _requests(entries: Iterable[Entry], created: set[str]) -> Iterator[Parcel]:
    for entry in entries:
        content: Any = entry.content
        match entry.kind:
            case EntryKind.TRACE:
                yield _create(content, entry.project)
            case EntryKind.SPANS if entry.trace_id in created:
                yield Parcel(step=Step.APPEND, trace_id=entry.trace_id, spans=_encoded(content), project=entry.project)
            case EntryKind.SPANS if content:
                created.add(entry.trace_id)
                yield _create(stand_in(entry.trace_id, content), entry.project)
            case EntryKind.UPDATE if entry.trace_id in created:
                fields = orjson.dumps(content)
                yield Parcel(step=Step.FINISH, trace_id=entry.trace_id, fields=fields, project=entry.project)
            case EntryKind.SCORE:
                name, fields = str(content.get("name", "")), orjson.dumps(content)
                yield Parcel(step=Step.SCORE, trace_id=entry.trace_id, fields=fields, name=name, project=entry.project)
            case _:
                pass  # a bad line, which is reported, or a change of an unknown trace


def _create(trace: Mapping[str, Any], project: str) -> Parcel:
    return Parcel(
        step=Step.CREATE,
        trace_id=str(trace["trace_id"]),
        fields=orjson.dumps({key: trace[key] for key in trace if key not in ("spans", "refused")}),
        spans=_encoded(trace.get("spans") or ()),
        name=str(trace.get("name", "")),
        project=project,
    )


def _encoded(spans: Iterable[Any]) -> EncodedSpans:
    return EncodedSpans.of(orjson.dumps(span) for span in spans)
