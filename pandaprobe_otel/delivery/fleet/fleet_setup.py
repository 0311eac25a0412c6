"""Construction of the shared budget for a pipeline."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pandaprobe_otel.delivery.budget import REQUEST_TIMEOUT_S, LeasedBucket
from pandaprobe_otel.delivery.fleet.redis_leases import RedisLeases
from pandaprobe_otel.delivery.fleet.redis_tokens import RedisTokens
from pandaprobe_otel.delivery.notices import Notices
from pandaprobe_otel.delivery.spool.boot_clock import boot_clock
from pandaprobe_otel.delivery.spool.destination import Destination

if TYPE_CHECKING:
    from pandaprobe_otel.config.resolve import Config


def fleet_bucket(config: Config, notices: Notices) -> LeasedBucket:
    """Return a bucket shared by all processes with this key and the Redis of `redis_url`. It connects on first use."""
    assert config.redis_url is not None
    whose = Destination(endpoint=config.endpoint, project=config.project_name, api_key=config.key_identity)
    leases = RedisLeases(config.redis_url, whose.key_digest, request_timeout_s=REQUEST_TIMEOUT_S)
    return LeasedBucket(tokens=RedisTokens(leases, notices, request_timeout_s=REQUEST_TIMEOUT_S), clock=boot_clock)
