"""What the routes of one server share."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import cast

from starlette.requests import HTTPConnection

from pandaprobe_otel.local.faults import Faults
from pandaprobe_otel.local.limits import FixedWindows, RateLimits
from pandaprobe_otel.local.settings import LocalSettings
from pandaprobe_otel.local.store.accounts import Accounts
from pandaprobe_otel.local.store.database import Database
from pandaprobe_otel.local.store.queries import Queries
from pandaprobe_otel.local.store.traces import TraceStore
from pandaprobe_otel.local.times import now_micros


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """The parts of one running server."""

    settings: LocalSettings
    database: Database
    accounts: Accounts
    traces: TraceStore
    queries: Queries
    limits: RateLimits
    faults: Faults

    def now(self) -> int:
        """Return the current moment in microseconds."""
        return (self.settings.now_micros or now_micros)()


def build_services(settings: LocalSettings, database: Database, faults: Faults) -> Services:
    """Wire the parts of one server over a database."""
    now = settings.now_micros or now_micros
    accounts = Accounts(database, now)
    for secret in settings.api_keys:
        accounts.add_key(accounts.home.id, "given at start", secret=secret)
    windows = FixedWindows(window_s=settings.window_s, monotonic=settings.monotonic or time.monotonic)
    return Services(
        settings=settings,
        database=database,
        accounts=accounts,
        traces=TraceStore(database),
        queries=Queries(database),
        limits=RateLimits(windows, traces_per_minute=settings.traces_per_minute),
        faults=faults,
    )


def services_of(connection: HTTPConnection) -> Services:
    """Return the services of the server that handles a request."""
    return cast(Services, connection.app.state.services)
