"""Puts the spool together for a pipeline."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from pandaprobe_otel.delivery.budget import REQUEST_TIMEOUT_S, LeasedBucket
from pandaprobe_otel.delivery.notices import Notices
from pandaprobe_otel.delivery.spool.adoption import Adoption
from pandaprobe_otel.delivery.spool.boot_clock import boot_clock
from pandaprobe_otel.delivery.spool.destination import destination_of, spool_folder
from pandaprobe_otel.delivery.spool.folder import SpoolFolder
from pandaprobe_otel.delivery.spool.journal import SpanJournal
from pandaprobe_otel.delivery.spool.lease_file import FileTokens
from pandaprobe_otel.delivery.spool.recovery import recovered
from pandaprobe_otel.delivery.spool.store import SpoolStore

if TYPE_CHECKING:
    from pandaprobe_otel.config import Config
    from pandaprobe_otel.tracing.encoder import PartEncoder


def shared_bucket(config: Config) -> LeasedBucket:
    """A bucket whose tokens all processes that use the directory with this key take from."""
    path = spool_folder(config) / f"leases-{destination_of(config).key_digest}"
    return LeasedBucket(tokens=FileTokens(path, request_timeout_s=REQUEST_TIMEOUT_S), clock=boot_clock)


def spool_store(
    config: Config,
    *,
    encoder: Callable[[], PartEncoder],
    notices: Notices,
    monotonic: Callable[[], float] = time.monotonic,
) -> SpoolStore:
    """The store of a pipeline whose settings name a spool. Touches no file yet."""
    folder = SpoolFolder(spool_folder(config), destination_of(config))
    adoption = Adoption(folder=folder, notices=notices, recover=lambda found, states: recovered(found, states, encoder))
    return SpoolStore(
        folder=folder, adoption=adoption, notices=notices, max_bytes=config.max_spool_bytes, monotonic=monotonic
    )


def span_journal(config: Config, *, is_forked: bool, all_spans: bool) -> SpanJournal:
    """What writes down the traces that are not complete; called by the worker, which loads the mapping for it.

    With `mask` or a `capture` that leaves out content, nothing of the content is written: neither can be applied to
    a span by itself. `all_spans`: also what would not be sent as far as can be seen by now.
    """
    content = config.capture == "all" and config.mask is None
    all_spans = all_spans or config.spans != "agent"
    return SpanJournal(content=content, all_spans=all_spans, is_forked=is_forked)
