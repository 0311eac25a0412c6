"""Puts the spool together for a pipeline."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pandaprobe_otel.delivery.budget import REQUEST_TIMEOUT_S, LeasedBucket
from pandaprobe_otel.delivery.dispatcher import Dispatcher
from pandaprobe_otel.delivery.ledger import Ledger
from pandaprobe_otel.delivery.notices import Notices
from pandaprobe_otel.delivery.outbox import MemoryOutbox
from pandaprobe_otel.delivery.spool.boot_clock import boot_clock
from pandaprobe_otel.delivery.spool.delivery import SpooledDelivery
from pandaprobe_otel.delivery.spool.destination import Destination
from pandaprobe_otel.delivery.spool.lease_file import FileTokens
from pandaprobe_otel.delivery.spool.memory_side import MemorySide
from pandaprobe_otel.delivery.spool.writer import SpoolWriter
from pandaprobe_otel.transport.messages import Transport

if TYPE_CHECKING:
    from pandaprobe_otel.config import Config
    from pandaprobe_otel.delivery.delivery import Delivery
    from pandaprobe_otel.delivery.spool.journal import SpanJournal
    from pandaprobe_otel.delivery.spool.keeper import Keeper
    from pandaprobe_otel.tracing.encoder import PartEncoder


def shared_bucket(config: Config) -> LeasedBucket:
    """A bucket whose tokens all processes that use the directory with this key take from."""
    path = _folder(config) / f"leases-{_destination(config).key_digest}"
    return LeasedBucket(tokens=FileTokens(path, request_timeout_s=REQUEST_TIMEOUT_S), clock=boot_clock)


def spooled_delivery(
    config: Config,
    *,
    dispatcher: Callable[[MemoryOutbox], Dispatcher],
    encoder: Callable[[], PartEncoder],
    transport: Transport,
    ledger: Ledger,
    notices: Notices,
    max_bytes: int,
    monotonic: Callable[[], float] = time.monotonic,
) -> SpooledDelivery:
    """The delivery of a pipeline whose settings name a spool. Touches no file yet."""

    def keeper(memory: MemorySide, rows: Callable[[], int]) -> Keeper:
        # Loaded by the spool's thread, when there is something to write.
        from pandaprobe_otel.delivery.spool.adoption import Adoption
        from pandaprobe_otel.delivery.spool.folder import SpoolFolder
        from pandaprobe_otel.delivery.spool.keeper import Keeper
        from pandaprobe_otel.delivery.spool.recovery import recovered

        folder = SpoolFolder(_folder(config), _destination(config))
        adoption = Adoption(
            folder=folder,
            memory=memory,
            notices=notices,
            recover=lambda found, states: recovered(found, states, encoder),
            rows=rows,
            monotonic=monotonic,
        )
        return Keeper(
            folder=folder,
            memory=memory,
            notices=notices,
            adoption=adoption,
            max_bytes=config.max_spool_bytes,
            monotonic=monotonic,
        )

    return SpooledDelivery(
        writer=lambda memory, rows: SpoolWriter(
            lambda: keeper(memory, rows), on_fault=memory.gave_up, monotonic=monotonic
        ),
        dispatcher=dispatcher,
        transport=transport,
        ledger=ledger,
        notices=notices,
        max_bytes=max_bytes,
        monotonic=monotonic,
    )


def span_journal(config: Config, delivery: Delivery, *, is_forked: bool, all_spans: bool) -> SpanJournal | None:
    """What writes down the traces that are not complete; called by the worker, which loads the mapping for it.

    With `mask` or a `capture` that leaves out content, nothing of the content is written: neither can be applied to
    a span by itself. `all_spans`: also what would not be sent as far as can be seen by now.
    """
    if not isinstance(delivery, SpooledDelivery):
        return None
    from pandaprobe_otel.delivery.spool.journal import SpanJournal

    content = config.capture == "all" and config.mask is None
    all_spans = all_spans or config.spans != "agent"
    return SpanJournal(delivery.ask, content=content, all_spans=all_spans, is_forked=is_forked)


def _folder(config: Config) -> Path:
    return Path(config.spool or "").expanduser()


def _destination(config: Config) -> Destination:
    return Destination(endpoint=config.endpoint, project=config.project_name, api_key=config.key_identity)
