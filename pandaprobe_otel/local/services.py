"""Services that the routes of one server share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

from starlette.requests import HTTPConnection

from pandaprobe_otel.judge.judge import Judge, NoJudge
from pandaprobe_otel.judge.scripted import ScriptedJudge
from pandaprobe_otel.local.evaluation.service import Evaluation
from pandaprobe_otel.local.injected_faults import Faults
from pandaprobe_otel.local.limits import RateLimits
from pandaprobe_otel.local.live_traces import LiveTraces
from pandaprobe_otel.local.otlp_receivers import OtlpReceivers
from pandaprobe_otel.local.quota import QuotaBook
from pandaprobe_otel.local.settings import LocalSettings
from pandaprobe_otel.local.store.accounts import Accounts
from pandaprobe_otel.local.store.analytics import Analytics
from pandaprobe_otel.local.store.database import Database
from pandaprobe_otel.local.store.failures import Failures
from pandaprobe_otel.local.store.queries import Queries
from pandaprobe_otel.local.store.traces import TraceStore
from pandaprobe_otel.local.times import now_micros

if TYPE_CHECKING:
    from pandaprobe_otel.judge.http_judge import HttpJudge

DEFAULT_MODEL: Final = "gpt-4o-mini"
_NO_JUDGE: Final = NoJudge()


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
    quota: QuotaBook
    evaluation: Evaluation
    analytics: Analytics
    scripted_judge: ScriptedJudge
    http_judge: HttpJudge | None
    otlp: OtlpReceivers
    failures: Failures
    live: LiveTraces
    now: Callable[[], int]
    """The clock, in microseconds."""

    def close(self, timeout_s: float) -> None:
        """End the threads of the server's own work, and close all open resources."""
        self.evaluation.stop(timeout_s)
        if self.http_judge is not None:
            self.http_judge.close()


def build_services(settings: LocalSettings, database: Database, faults: Faults) -> Services:
    """Create the parts of one server for a database."""
    now = now_micros
    accounts = Accounts(database, now)
    for secret in settings.api_keys:
        accounts.add_key(accounts.home.id, "given at start", secret=secret)
    scripted, over_http = ScriptedJudge(), _http_judge(settings)

    def judge() -> Judge:
        if settings.scripted_judge or scripted.active:
            return scripted
        return over_http or _NO_JUDGE

    traces, queries, quota = TraceStore(database), Queries(database), QuotaBook(accounts, faults)
    evaluation = Evaluation(
        database, accounts=accounts, traces=traces, queries=queries, quota=quota, judge=judge, now=now
    )
    return Services(
        settings=settings,
        database=database,
        accounts=accounts,
        traces=traces,
        queries=queries,
        limits=RateLimits(window_s=settings.window_s, traces_per_minute=settings.limit),
        faults=faults,
        quota=quota,
        evaluation=evaluation,
        analytics=Analytics(database),
        scripted_judge=scripted,
        http_judge=over_http,
        otlp=OtlpReceivers(settings),
        failures=Failures(database),
        live=LiveTraces(now),
        now=now,
    )


def _http_judge(settings: LocalSettings) -> HttpJudge | None:
    if settings.judge_url is None:
        return None
    from pandaprobe_otel.judge.http_judge import HttpJudge

    return HttpJudge(
        settings.judge_url,
        key=settings.judge_key,
        model=settings.judge_model or DEFAULT_MODEL,
        embedding_model=settings.embedding_model,
    )


def services_of(connection: HTTPConnection) -> Services:
    """Return the services of the server that handles a request."""
    return cast(Services, connection.app.state.services)
