"""Checked by mypy and pyright, both strict, never run: what a project that uses the clients sees."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from typing import assert_type
from uuid import UUID

from pandaprobe_otel import AsyncClient, Client
from pandaprobe_otel.api import AsyncRun, MonitorPlan, Run, RunResult
from pandaprobe_otel.api.models import (
    AnalyticsBucket,
    ApiKey,
    EvalRun,
    Membership,
    Metric,
    Monitor,
    MyOrganization,
    Page,
    Project,
    RunTemplate,
    ScoreSummary,
    Session,
    SessionComparison,
    SessionScore,
    SessionSummary,
    Span,
    TokenCostBucket,
    TopModel,
    Trace,
    TraceAccepted,
    TraceListItem,
    TraceScore,
    Usage,
    UserProfile,
    UserSummary,
)

NOW = datetime.now(UTC)


def blocking(client: Client, some_id: UUID) -> None:
    """The results themselves."""
    assert_type(client.traces.list(limit=5, status="ERROR", tags=["a"]), Page[TraceListItem])
    assert_type(client.traces.iter(session_id="s", page_size=50), Iterator[TraceListItem])
    assert_type(client.traces.get("id"), Trace)
    assert_type(client.traces.get(some_id).spans, list[Span])
    assert_type(client.traces.create(name="n", started_at=NOW, spans=[{"name": "s", "started_at": NOW}]), TraceAccepted)
    assert_type(client.traces.update(some_id, output=None), Trace)
    assert_type(client.traces.wait_visible(some_id, timeout=3), Trace)
    assert_type(client.traces.activity(started_after=NOW, started_before=NOW), list[AnalyticsBucket])
    assert_type(client.traces.token_usage("cost", started_after=NOW, started_before=NOW), list[TokenCostBucket])
    assert_type(client.traces.top_models(started_after=NOW, started_before=NOW), list[TopModel])
    assert_type(client.users.iter(), Iterator[UserSummary])
    assert_type(client.sessions.list(), Page[SessionSummary])
    assert_type(client.sessions.get("s"), Session)
    assert_type(client.score(some_id, "n", 0.5, reason="r"), TraceScore)
    assert_type(client.scores.of_trace(some_id), list[TraceScore])
    assert_type(client.scores.summary(), list[ScoreSummary])
    assert_type(client.scores.sessions.of_session("s"), list[SessionScore])
    assert_type(client.scores.sessions.iter_comparison(metric_name="m"), Iterator[SessionComparison])
    assert_type(client.evaluations.trace_metrics(), list[Metric])
    assert_type(client.evaluations.template("m"), RunTemplate)
    run = client.evaluations.run(["m"], traces=[some_id, "id", client.traces.get("id")], model="m", status="ERROR")
    assert_type(run, Run)
    assert_type(run.wait(timeout=5, progress=False), RunResult)
    assert_type(run.retry_failed(), Run)
    assert_type(run.state, EvalRun)
    assert_type(client.evaluations.get("id"), Run)
    assert_type(client.evaluations.trace_runs.scores(some_id), list[TraceScore])
    assert_type(client.evaluations.session_runs.scores(some_id), list[SessionScore])
    assert_type(client.evaluations.session_runs.create(metrics=["m"], filters={"has_error": True}), EvalRun)
    assert_type(client.monitors.create(name="m", target_type="TRACE", metrics=["m"], cadence="daily"), Monitor)
    assert_type(client.monitors.apply("monitors.toml", prune=True), MonitorPlan)
    assert_type(client.organizations.list(), list[MyOrganization])
    assert_type(client.organizations.members.set_role(some_id, "ADMIN"), Membership)
    assert_type(client.organizations.billing.usage(), Usage)
    assert_type(client.projects.list(some_id), list[Project])
    assert_type(client.api_keys.create("k"), ApiKey)
    assert_type(client.me.get(), UserProfile)
    client.traces.delete(some_id)


async def awaited(client: AsyncClient, some_id: UUID) -> None:
    """The same, awaited."""
    assert_type(await client.traces.list(limit=5), Page[TraceListItem])
    assert_type(client.traces.iter(session_id="s"), AsyncIterator[TraceListItem])
    async for trace in client.traces.iter(name="n"):
        assert_type(trace, TraceListItem)
    assert_type(await client.traces.get("id"), Trace)
    assert_type(await client.sessions.get("s", limit=5), Session)
    assert_type(await client.score(some_id, "n", True), TraceScore)
    run = await client.evaluations.run("m", session="s")
    assert_type(run, AsyncRun)
    assert_type(await run.wait(), RunResult)
    assert_type(await run.retry_failed(), AsyncRun)
    assert_type(await client.evaluations.session_runs.scores(some_id), list[SessionScore])
    assert_type(await client.monitors.apply({"monitor": []}), MonitorPlan)
    assert_type(await client.organizations.members.list(), list[Membership])
    async with AsyncClient() as other:
        assert_type(other, AsyncClient)


def refused(client: Client, some_id: UUID) -> None:
    """What a type checker finds without a request."""
    client.traces.list(sesion_id="s")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    client.traces.list(limit="5")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    client.traces.get()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    client.traces.create(name="n")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    client.monitors.update(some_id, target_type="TRACE")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    client.score(some_id, "n", None)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
