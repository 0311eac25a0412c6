"""Puts the delivery of a pipeline together, as the settings say: with or without a spool, alone or in a fleet."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from pandaprobe_otel.delivery.budget import LeasedBucket
from pandaprobe_otel.delivery.delivery import Delivery
from pandaprobe_otel.delivery.dispatcher import Dispatcher
from pandaprobe_otel.delivery.ledger import Ledger
from pandaprobe_otel.delivery.notices import Notices
from pandaprobe_otel.delivery.outbox import MemoryOutbox
from pandaprobe_otel.transport.direct import delivery_transport
from pandaprobe_otel.transport.headers import api_key_headers
from pandaprobe_otel.transport.messages import Transport

if TYPE_CHECKING:
    from pandaprobe_otel.config import Config
    from pandaprobe_otel.tracing.encoder import PartEncoder

_logger = logging.getLogger("pandaprobe_otel")


def open_delivery(
    config: Config,
    *,
    transport: Transport | None,
    bucket: Callable[[], LeasedBucket] | None,
    encoder: Callable[[], PartEncoder],
    ledger: Ledger,
    notices: Notices,
    max_bytes: int,
    monotonic: Callable[[], float] = time.monotonic,
) -> Delivery:
    """The delivery for these settings, which connects to nothing and touches no file yet.

    transport, bucket: None for those of the settings.
    encoder: encodes the spans of a trace that a crashed process has left in the spool.
    """

    def dispatcher(outbox: MemoryOutbox, tokens: LeasedBucket) -> Dispatcher:
        return Dispatcher(
            outbox=outbox,
            bucket=tokens,
            ledger=ledger,
            notices=notices,
            project=config.project_name,
            verify=config.verify,
            max_traces_per_day=config.max_traces_per_day,
        )

    transport = transport or _transport(config)
    bucket = bucket or _fleet_bucket(config, notices)
    if not _has_spool(config):
        own = bucket or LeasedBucket
        return Delivery(
            dispatcher=lambda: dispatcher(MemoryOutbox(max_bytes), own()), transport=transport, monotonic=monotonic
        )
    from pandaprobe_otel.delivery.spool.setup import shared_bucket, spooled_delivery

    shared = bucket or (lambda: shared_bucket(config))
    return spooled_delivery(
        config,
        dispatcher=lambda outbox: dispatcher(outbox, shared()),
        encoder=encoder,
        transport=transport,
        ledger=ledger,
        notices=notices,
        max_bytes=max_bytes,
        monotonic=monotonic,
    )


def _transport(config: Config) -> Transport:
    project, ask = config.project_name, config.api_key
    transport = delivery_transport(config.endpoint, api_key_headers(config.fixed_key or "", project))
    if ask is None or isinstance(ask, str):
        return transport
    from pandaprobe_otel.transport.asked_key import AskedKeyTransport

    return AskedKeyTransport(transport, ask=ask, project_name=project)


def _fleet_bucket(config: Config, notices: Notices) -> Callable[[], LeasedBucket] | None:
    if config.redis_url is None:
        return None
    from pandaprobe_otel.delivery.fleet.setup import fleet_bucket

    return lambda: fleet_bucket(config, notices)


def _has_spool(config: Config) -> bool:
    if config.spool is None:
        return False
    from pandaprobe_otel.delivery.spool.platform import obstacle

    reason = obstacle()
    if reason is not None:
        _logger.warning("pandaprobe-otel: there is no spool, since %s; traces wait in memory only.", reason)
    return reason is None
