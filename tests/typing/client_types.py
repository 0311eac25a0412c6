"""Types of the clients as another project sees them: checked by mypy and pyright in strict mode, never run.

`blocking` calls every method of the clients; test_client_types.py derives the cases of `AsyncClient` from it.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import assert_type
from uuid import UUID

from pandaprobe_otel import Client
from pandaprobe_otel.api import MonitorPlan, Run, RunResult
from pandaprobe_otel.api.models import (
    AnalyticsBucket,
    ApiKey,
    Billing,
    EvalRun,
    Invitation,
    Membership,
    Metric,
    Monitor,
    MyOrganization,
    Organization,
    Page,
    PastUsage,
    Plan,
    Project,
    Provider,
    RunTemplate,
    ScoreDistribution,
    ScoreSummary,
    ScoreTrend,
    Session,
    SessionAnalyticsBucket,
    SessionComparison,
    SessionDeleted,
    SessionScore,
    SessionScorePoint,
    SessionSummary,
    Span,
    SpansAccepted,
    Subscription,
    TokenCostBucket,
    TopModel,
    Trace,
    TraceAccepted,
    TraceListItem,
    TraceScore,
    TracesDeleted,
    TracesTagged,
    Usage,
    UserProfile,
    UserSummary,
)
from pandaprobe_otel.errors import OutcomeUnknown

NOW = datetime.now(UTC)


def blocking(client: Client, some_id: UUID, error: OutcomeUnknown) -> None:
    """Check the types of the results."""
    assert_type(client.score(some_id, "n", 0.5, reason="r"), TraceScore)
    assert_type(client.look_up(error), list[EvalRun] | list[TraceScore] | list[Monitor])

    assert_type(client.traces.list(limit=5, status="ERROR", tags=["a"]), Page[TraceListItem])
    assert_type(client.traces.iter(session_id="s", page_size=50), Iterator[TraceListItem])
    assert_type(client.traces.iterate(session_id="s", max_items=50), Iterator[TraceListItem])
    assert_type(client.traces.get("id"), Trace)
    assert_type(client.traces.wait_visible(some_id, timeout=3), Trace)
    assert_type(client.traces.create(name="n", started_at=NOW, spans=[{"name": "s", "started_at": NOW}]), TraceAccepted)
    assert_type(client.traces.update(some_id, output=None), Trace)
    assert_type(client.traces.delete_many([some_id, "id"]), TracesDeleted)
    assert_type(client.traces.tag([some_id], add=["a"], remove=["b"]), TracesTagged)
    assert_type(client.traces.add_spans(some_id, [{"name": "s", "started_at": NOW}]), SpansAccepted)
    assert_type(client.traces.update_span(some_id, "id", status="OK"), Span)
    assert_type(
        client.traces.analytics(metric="cost", started_after=NOW, started_before=NOW),
        list[AnalyticsBucket] | list[TokenCostBucket] | list[TopModel],
    )
    assert_type(client.traces.activity(started_after=NOW, started_before=NOW), list[AnalyticsBucket])
    assert_type(client.traces.token_usage("cost", started_after=NOW, started_before=NOW), list[TokenCostBucket])
    assert_type(client.traces.top_models(started_after=NOW, started_before=NOW), list[TopModel])
    assert_type(client.users.list(limit=5), Page[UserSummary])
    assert_type(client.users.iter(), Iterator[UserSummary])

    assert_type(client.sessions.list(), Page[SessionSummary])
    assert_type(client.sessions.iter(has_error=True), Iterator[SessionSummary])
    assert_type(client.sessions.get("s", limit=5), Session)
    assert_type(client.sessions.delete("s"), SessionDeleted)
    assert_type(client.sessions.analytics(started_after=NOW, started_before=NOW), list[SessionAnalyticsBucket])

    assert_type(client.scores.create(some_id, "n", True), TraceScore)
    assert_type(client.scores.list(name="n"), Page[TraceScore])
    assert_type(client.scores.iter(trace_id=some_id), Iterator[TraceScore])
    assert_type(client.scores.of_trace(some_id), list[TraceScore])
    assert_type(client.scores.update(some_id, value="label"), TraceScore)
    assert_type(client.scores.summary(date_from=NOW), list[ScoreSummary])
    assert_type(client.scores.trend(metric_name="m"), list[ScoreTrend])
    assert_type(client.scores.distribution(metric_name="m", buckets=5), list[ScoreDistribution])
    assert_type(client.scores.sessions.list(session_id="s"), Page[SessionScore])
    assert_type(client.scores.sessions.iter(), Iterator[SessionScore])
    assert_type(client.scores.sessions.of_session("s"), list[SessionScore])
    assert_type(client.scores.sessions.summary(), list[ScoreSummary])
    assert_type(client.scores.sessions.trend(metric_name="m"), list[ScoreTrend])
    assert_type(client.scores.sessions.distribution(metric_name="m"), list[ScoreDistribution])
    assert_type(client.scores.sessions.history("s"), list[SessionScorePoint])
    assert_type(client.scores.sessions.comparison(metric_name="m"), Page[SessionComparison])
    assert_type(client.scores.sessions.iter_comparison(metric_name="m"), Iterator[SessionComparison])

    assert_type(client.evaluations.trace_metrics(), list[Metric])
    assert_type(client.evaluations.metrics(), list[Metric])
    assert_type(client.evaluations.session_metrics(), list[Metric])
    assert_type(client.evaluations.providers(), list[Provider])
    assert_type(client.evaluations.template("m"), RunTemplate)
    assert_type(client.evaluations.run(["m"], traces=[some_id, "id"], model="m"), Run)
    assert_type(client.evaluations.run("m", session="s"), Run)
    assert_type(client.evaluations.get("id"), Run)
    assert_type(client.evaluations.create([some_id, "id"], ["m"], name="n", model="m"), EvalRun)
    assert_type(client.evaluations.scores(some_id), list[TraceScore])
    assert_type(client.evaluations.wait("id", trace_ids=[some_id], metrics=["m"], timeout=5), RunResult)
    assert_type(client.evaluations.trace_runs.create(metrics=["m"], filters={"status": "ERROR"}), EvalRun)
    assert_type(client.evaluations.trace_runs.create_batch(metrics=["m"], trace_ids=[some_id]), EvalRun)
    assert_type(client.evaluations.trace_runs.list(), Page[EvalRun])
    assert_type(client.evaluations.trace_runs.iter(status="FAILED"), Iterator[EvalRun])
    assert_type(client.evaluations.trace_runs.get(some_id), EvalRun)
    assert_type(client.evaluations.trace_runs.scores(some_id), list[TraceScore])
    assert_type(client.evaluations.trace_runs.retry(some_id), EvalRun)
    assert_type(client.evaluations.session_runs.create(metrics=["m"], filters={"has_error": True}), EvalRun)
    assert_type(client.evaluations.session_runs.create_batch(metrics=["m"], session_ids=["s"]), EvalRun)
    assert_type(client.evaluations.session_runs.list(limit=5), Page[EvalRun])
    assert_type(client.evaluations.session_runs.iter(), Iterator[EvalRun])
    assert_type(client.evaluations.session_runs.get(some_id), EvalRun)
    assert_type(client.evaluations.session_runs.scores(some_id), list[SessionScore])
    assert_type(client.evaluations.session_runs.retry("id"), EvalRun)

    assert_type(client.monitors.create(name="m", target_type="TRACE", metrics=["m"], cadence="daily"), Monitor)
    assert_type(client.monitors.list(status="PAUSED"), Page[Monitor])
    assert_type(client.monitors.iter(), Iterator[Monitor])
    assert_type(client.monitors.get(some_id), Monitor)
    assert_type(client.monitors.update(some_id, cadence="weekly"), Monitor)
    assert_type(client.monitors.pause(some_id), Monitor)
    assert_type(client.monitors.resume(some_id), Monitor)
    assert_type(client.monitors.trigger(some_id), EvalRun)
    assert_type(client.monitors.runs(some_id), Page[EvalRun])
    assert_type(client.monitors.iter_runs(some_id), Iterator[EvalRun])
    assert_type(client.monitors.plan({"monitor": []}), MonitorPlan)
    assert_type(client.monitors.apply("monitors.toml", prune=True), MonitorPlan)

    assert_type(client.organizations.list(), list[MyOrganization])
    assert_type(client.organizations.create("o"), Organization)
    assert_type(client.organizations.get(), MyOrganization)
    assert_type(client.organizations.update("o", organization_id=some_id), Organization)
    assert_type(client.organizations.members.list(), list[Membership])
    assert_type(client.organizations.members.set_role(some_id, "ADMIN"), Membership)
    assert_type(client.organizations.members.invite("a@example.org"), Invitation)
    assert_type(client.organizations.members.invitations(), list[Invitation])
    assert_type(client.organizations.billing.plans(), list[Plan])
    assert_type(client.organizations.billing.subscription(), Subscription)
    assert_type(client.organizations.billing.usage(), Usage)
    assert_type(client.organizations.billing.bill(), Billing)
    assert_type(client.organizations.billing.past(limit=3), list[PastUsage])
    assert_type(client.projects.list(some_id), list[Project])
    assert_type(client.projects.create("p", description="d"), Project)
    assert_type(client.projects.get(some_id), Project)
    assert_type(client.projects.update(some_id, name="q"), Project)
    assert_type(client.api_keys.list(), list[ApiKey])
    assert_type(client.api_keys.create("k", expiration="90d"), ApiKey)
    assert_type(client.api_keys.get(some_id), ApiKey)
    assert_type(client.api_keys.rotate(some_id), ApiKey)
    assert_type(client.me.get(), UserProfile)
    assert_type(client.me.invitations(), list[Invitation])
    assert_type(client.me.accept_invitation(some_id), Membership)


def without_answer(client: Client, some_id: UUID) -> None:
    """Check methods that return None, whose result type checkers refuse."""
    client.traces.delete(some_id)
    client.scores.delete(some_id)
    client.scores.sessions.delete(some_id)
    client.evaluations.trace_runs.delete(some_id, delete_scores=True)
    client.evaluations.session_runs.delete(some_id)
    client.monitors.delete(some_id)
    client.organizations.delete(some_id)
    client.organizations.members.remove(some_id)
    client.organizations.members.revoke_invitation(some_id)
    client.projects.delete(some_id)
    client.api_keys.revoke(some_id)
    client.api_keys.delete(some_id)
    client.me.decline_invitation(some_id)


def started(run: Run) -> None:
    """Check the methods of a run."""
    assert_type(run.state, EvalRun)
    assert_type(run.wait(timeout=5, progress=False), RunResult)
    assert_type(run.refresh(), EvalRun)
    assert_type(run.result(), RunResult)
    assert_type(run.retry_failed(), Run)
    run.delete(delete_scores=True)


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
