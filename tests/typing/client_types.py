"""Types of the clients as another project sees them: checked by mypy and pyright in strict mode, never run."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from typing import assert_type
from uuid import UUID

from pandaprobe_otel import AsyncClient, Client
from pandaprobe_otel.api import AsyncRun, MonitorPlan, Run, RunResult
from pandaprobe_otel.api.models import (
    AnalyticsBucket,
    EvalRun,
    Membership,
    Monitor,
    Page,
    RunTemplate,
    ScoreTrend,
    Session,
    SessionComparison,
    Span,
    TokenCostBucket,
    TopModel,
    Trace,
    TraceAccepted,
    TraceListItem,
    TraceScore,
)
from pandaprobe_otel.errors import OutcomeUnknown

NOW = datetime.now(UTC)


def blocking(client: Client, some_id: UUID, error: OutcomeUnknown) -> None:
    """Check the types of the results."""
    assert_type(client.score(some_id, "n", 0.5, reason="r"), TraceScore)
    assert_type(client.look_up(error), list[EvalRun] | list[TraceScore] | list[Monitor])
    assert_type(client.traces.list(limit=5, status="ERROR", tags=["a"]), Page[TraceListItem])
    assert_type(client.traces.iter(session_id="s", page_size=50), Iterator[TraceListItem])
    assert_type(client.traces.get("id"), Trace)
    assert_type(client.traces.wait_visible(some_id, timeout=3), Trace)
    assert_type(client.traces.create(name="n", started_at=NOW, spans=[{"name": "s", "started_at": NOW}]), TraceAccepted)
    assert_type(
        client.traces.analytics(metric="cost", started_after=NOW, started_before=NOW),
        list[AnalyticsBucket] | list[TokenCostBucket] | list[TopModel],
    )
    assert_type(client.sessions.get("s", limit=5), Session)
    assert_type(client.scores.sessions.trend(metric_name="m"), list[ScoreTrend])
    assert_type(client.scores.sessions.iter_comparison(metric_name="m"), Iterator[SessionComparison])
    assert_type(client.evaluations.template("m"), RunTemplate)
    assert_type(client.evaluations.wait("id", trace_ids=[some_id], metrics=["m"], timeout=5), RunResult)
    assert_type(client.evaluations.trace_runs.create(metrics=["m"], filters={"status": "ERROR"}), EvalRun)
    assert_type(client.monitors.apply("monitors.toml", prune=True), MonitorPlan)
    assert_type(client.organizations.members.set_role(some_id, "ADMIN"), Membership)
    client.traces.delete(some_id)

    run = client.evaluations.run(["m"], traces=[some_id, "id"], model="m")
    assert_type(run, Run)
    assert_type(run.state, EvalRun)
    assert_type(run.wait(timeout=5, progress=False), RunResult)
    assert_type(run.retry_failed(), Run)


async def awaited(client: AsyncClient, some_id: UUID) -> None:
    """Check the types of the results of the asynchronous client."""
    assert_type(await client.traces.list(limit=5, status="ERROR"), Page[TraceListItem])
    assert_type(client.traces.iter(session_id="s"), AsyncIterator[TraceListItem])
    assert_type(await client.scores.sessions.trend(metric_name="m"), list[ScoreTrend])
    run = await client.evaluations.run("m", session="s")
    assert_type(run, AsyncRun)
    assert_type(await run.wait(timeout=5), RunResult)
    await client.traces.delete(some_id)


def read(client: Client, trace: Trace) -> None:
    """Check the members of answers, and answers as arguments."""
    assert_type(trace.spans, list[Span])
    assert_type(trace.started_at, datetime)
    client.evaluations.run("m", traces=[trace], status="ERROR")
    client.score(trace, "n", 1.0)


def refused(client: Client, some_id: UUID) -> None:
    """Check that type checkers refuse wrong calls."""
    client.traces.list(sesion_id="s")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    client.traces.list(limit="5")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    client.traces.get()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    client.traces.create(name="n")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    client.monitors.update(some_id, target_type="TRACE")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    client.score(some_id, "n", None)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
