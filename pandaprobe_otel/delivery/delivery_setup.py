"""Construction of a pipeline's sender pool from the settings: with or without a spool, alone or in a fleet."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from pandaprobe_otel.delivery.budget import LeasedBucket, boot_clock
from pandaprobe_otel.delivery.ledger import Ledger
from pandaprobe_otel.delivery.notices import Notices
from pandaprobe_otel.delivery.outbox import Outbox
from pandaprobe_otel.delivery.policy import DeliveryPolicy
from pandaprobe_otel.delivery.sender_pool import SenderPool
from pandaprobe_otel.delivery.spool.destination import destination_of, spool_folder
from pandaprobe_otel.mapping.times import rfc3339
from pandaprobe_otel.transport.headers import api_key_headers
from pandaprobe_otel.transport.key_function import KeyFunctionTransport
from pandaprobe_otel.transport.request_outcome import Answer, Request, Transport
from pandaprobe_otel.transport.server_text import json_object
from pandaprobe_otel.transport.socket_transport import delivery_transport

if TYPE_CHECKING:
    from pandaprobe_otel.config.resolve import Config
    from pandaprobe_otel.delivery.spool.store import Recover, SpoolStore

_JUST_NOW_NS: Final = 60 * 1_000_000_000
_LOOK_TIMEOUT_S: Final = 5.0
_MOST_READ: Final = 64 << 10


def open_sender_pool(
    config: Config,
    *,
    has_spool: bool,
    transport: Transport | None,
    bucket: Callable[[], LeasedBucket] | None,
    recover: Recover,
    ledger: Ledger,
    notices: Notices,
    max_bytes: int,
    keeps_all: bool = False,
    monotonic: Callable[[], float] = time.monotonic,
) -> SenderPool:
    """Return the senders for these settings, without connecting to a server or touching a file.

    transport, bucket: if None, the settings decide.
    recover: makes requests from the spans of traces that a crashed process has left in the spool.
    keeps_all: nothing is dropped for lack of memory or tokens; see `Outbox`.
    """
    make_bucket = bucket or _bucket(config, notices, has_spool=has_spool)

    def store() -> SpoolStore | None:
        if not has_spool:
            return None
        from pandaprobe_otel.delivery.spool.folder import SpoolFolder  # SQLite takes time to load
        from pandaprobe_otel.delivery.spool.store import SpoolStore

        folder = SpoolFolder(spool_folder(config), destination_of(config))
        return SpoolStore(
            folder=folder, recover=recover, notices=notices, max_bytes=config.max_spool_bytes, monotonic=monotonic
        )

    return SenderPool(
        policy=lambda: DeliveryPolicy(
            outbox=Outbox(max_bytes, store(), keeps_all=keeps_all),
            bucket=make_bucket(),
            ledger=ledger,
            notices=notices,
            project=config.project_name,
            max_traces_per_day=config.max_traces_per_day,
        ),
        transport=transport or _transport(config),
        look=_look(config, notices),
        monotonic=monotonic,
    )


def _look(config: Config, notices: Notices) -> Callable[[Transport], None] | None:
    """Return a function that warns of a project without older traces: a misspelt name makes a new project.

    A server on this machine shows its projects, and they cost nothing.
    """
    if config.is_local or config.sources.get("project_name") == "default":
        return None
    before = rfc3339(time.time_ns() - _JUST_NOW_NS)  # of a script that is started again, the first run warns too

    def look(transport: Transport) -> None:
        path = f"/traces?limit=1&started_before={before}"
        answer = transport.send(Request(method="GET", path=path, timeout_s=_LOOK_TIMEOUT_S, most_read=_MOST_READ))
        if isinstance(answer, Answer) and answer.status == 200 and json_object(answer.body).get("total") == 0:
            notices.report("new_project", project=config.project_name)

    return look


def _transport(config: Config) -> Transport:
    project, ask = config.project_name, config.api_key
    transport = delivery_transport(config.endpoint, api_key_headers(config.fixed_key or "", project))
    if ask is None or isinstance(ask, str):
        return transport
    return KeyFunctionTransport(transport, ask=ask, project_name=project)


def _bucket(config: Config, notices: Notices, *, has_spool: bool) -> Callable[[], LeasedBucket]:
    """Return a function that makes a bucket for this process, or one shared by all processes with this key."""
    url = config.redis_url
    if url is None and not has_spool:
        return LeasedBucket
    key_digest = destination_of(config).key_digest
    if url is not None:
        from pandaprobe_otel.delivery.redis_tokens import RedisLeases, RedisTokens

        return lambda: LeasedBucket(tokens=RedisTokens(RedisLeases(url, key_digest), notices), clock=boot_clock)
    from pandaprobe_otel.delivery.spool.lease_file import FileTokens

    path = spool_folder(config) / f"leases-{key_digest}"
    return lambda: LeasedBucket(tokens=FileTokens(path), clock=boot_clock)
