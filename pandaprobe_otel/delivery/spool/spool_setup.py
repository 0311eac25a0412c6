"""Construction of a pipeline's spool."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from pandaprobe_otel.delivery.budget import REQUEST_TIMEOUT_S, LeasedBucket
from pandaprobe_otel.delivery.notices import Notices
from pandaprobe_otel.delivery.spool.adoption import Adoption, Recover
from pandaprobe_otel.delivery.spool.boot_clock import boot_clock
from pandaprobe_otel.delivery.spool.destination import destination_of, spool_folder
from pandaprobe_otel.delivery.spool.folder import SpoolFolder
from pandaprobe_otel.delivery.spool.lease_file import FileTokens
from pandaprobe_otel.delivery.spool.store import SpoolStore

if TYPE_CHECKING:
    from pandaprobe_otel.config.resolve import Config


def shared_bucket(config: Config) -> LeasedBucket:
    """Return a bucket shared by all processes that use the directory with this key."""
    path = spool_folder(config) / f"leases-{destination_of(config).key_digest}"
    return LeasedBucket(tokens=FileTokens(path, request_timeout_s=REQUEST_TIMEOUT_S), clock=boot_clock)


def spool_store(
    config: Config,
    *,
    recover: Recover,
    notices: Notices,
    monotonic: Callable[[], float] = time.monotonic,
) -> SpoolStore:
    """Return the store for settings that name a spool. It touches no file yet."""
    folder = SpoolFolder(spool_folder(config), destination_of(config))
    adoption = Adoption(folder=folder, notices=notices, recover=recover)
    return SpoolStore(
        folder=folder, adoption=adoption, notices=notices, max_bytes=config.max_spool_bytes, monotonic=monotonic
    )
