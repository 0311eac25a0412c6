"""Scores, runs and monitors in both clients, against recorded answers of the real server."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from both_clients import Connect, settled
from pandaprobe_otel.errors import InsufficientEvidence, InvalidRequest, NotFound, ServerError
from recorded_api import RECORDED_AT, recorded, trace_id


async def test_scores(connect: Connect) -> None:
    """Scores of numbers, booleans and labels are read, changed and deleted."""
    client = connect(RECORDED_AT)
    with recorded("scores_crud"):
        quality = await settled(client.score(trace_id(1), "quality", 0.91, reason="why", metadata={"m": 1}))
        ok = await settled(client.scores.create(trace_id(1), "ok", True))
        label = await settled(client.scores.create(trace_id(1), "label", "PASS"))
        listed = await settled(client.scores.list(trace_id=trace_id(1)))
        latest = await settled(client.scores.of_trace(trace_id(1)))
        changed = await settled(client.scores.update(quality.id, value=0.5))
        await settled(client.scores.delete(quality.id))
        with pytest.raises(NotFound):
            await settled(client.scores.delete(quality.id))

    assert [score.parsed for score in (quality, ok, label)] == [0.91, True, "PASS"]
    assert [score.name for score in listed.items] == ["label", "ok", "quality"]
    assert {score.name for score in latest} == {"label", "ok", "quality"}
    assert (changed.parsed, changed.source, changed.reason) == (0.5, "ANNOTATION", "why")


async def test_a_score_for_a_trace_that_is_not_there_explains_the_servers_failure(connect: Connect) -> None:
    """Without a wait, a score for a missing trace raises the server's 500, with an explanation."""
    client = connect(RECORDED_AT)
    with recorded("scores_errors", all_played=False), pytest.raises(ServerError, match="not visible yet") as failed:
        await settled(client.score(trace_id(98), "q", 0.5, wait=0))

    assert failed.value.status == 500


async def test_analytics_of_scores(connect: Connect) -> None:
    """A metric has a summary, a trend and a histogram."""
    client = connect(RECORDED_AT)
    with recorded("score_analytics"):
        (summary,) = await settled(client.scores.summary())
        (trend,) = await settled(client.scores.trend(metric_name="quality"))
        bars = await settled(client.scores.distribution(metric_name="quality", buckets=4))

    assert (summary.metric_name, summary.avg_score, summary.median_score, summary.success_count) == (
        "quality",
        0.5,
        0.5,
        3,
    )
    assert (trend.bucket, trend.avg_score, trend.count) == (datetime(2026, 11, 24, tzinfo=UTC), 0.5, 3)
    assert [(bar.bucket, bar.bucket_min, bar.count) for bar in bars] == [(1, 0.0, 1), (3, 0.5, 1), (4, 0.75, 1)]


async def test_a_run_over_traces_is_waited_for(connect: Connect) -> None:
    """A run is started and polled to its end; its scores come by target and metric."""
    client = connect(RECORDED_AT)
    metrics = ["confidence", "task_completion", "coherence"]
    states: list[str] = []
    with recorded("eval_run_judge"):
        run = await settled(client.evaluations.run(metrics, traces=[trace_id(1)], name="nightly"))
        providers = await settled(client.evaluations.providers())
        result = await settled(run.wait(progress=lambda state: states.append(state.status)))
        latest = await settled(client.scores.of_trace(trace_id(1)))

    assert states == ["RUNNING", "RUNNING", "COMPLETED"]
    assert [provider.key for provider in providers if provider.available] == ["openai"]
    assert (result.ok, result.run.total_targets, result.run.name) == (True, 1, "nightly")
    values = {metric: score.parsed for metric, score in result.by_target[str(trace_id(1))].items()}
    assert values == {"coherence": 0.9877, "task_completion": 0.9, "confidence": 0.95}
    assert [score.name for score in result.below({"task_completion": 0.95, "confidence": 0.5})] == ["task_completion"]
    assert {score.name for score in latest} >= set(metrics)


async def test_a_run_by_the_names_of_the_official_sdk(connect: Connect) -> None:
    """`metrics`, `create`, `wait` and `scores` work as in the official SDK, and each trace counts once."""
    client = connect(RECORDED_AT)
    metrics = ["confidence", "task_completion", "coherence"]
    with recorded("eval_run_judge", all_played=False):
        known = await settled(client.evaluations.metrics())
        run = await settled(client.evaluations.create([trace_id(1), str(trace_id(1))], metrics, name="nightly"))
        result = await settled(client.evaluations.wait(run.id, trace_ids=[trace_id(1)], metrics=metrics))

    assert {metric.name for metric in known} >= set(metrics)
    assert (run.status, run.total_targets, result.run.status) == ("PENDING", 1, "COMPLETED")
    assert {score.name: score.parsed for score in result.scores} == {
        "coherence": 0.9877,
        "task_completion": 0.9,
        "confidence": 0.95,
    }


async def test_the_official_wait_wants_a_number_for_each_pair(connect: Connect) -> None:
    """The `wait` of the official SDK raises unless every pair of trace and metric has a number."""
    client = connect(RECORDED_AT)
    with recorded("eval_run_failures_retry", all_played=False):
        run = await settled(client.evaluations.create([trace_id(1)], ["confidence"], name="r1", model=None))
        with pytest.raises(InsufficientEvidence, match=r"no number for 2 of 2 pairs .* confidence of ca55e77e"):
            await settled(client.evaluations.wait(run.id, trace_ids=[trace_id(1), trace_id(2)], metrics=["confidence"]))
        with pytest.raises(InvalidRequest, match="needs the traces and the metrics"):
            await settled(client.evaluations.wait(run.id, trace_ids=[], metrics=["confidence"]))


async def test_a_run_over_filters_listed_and_deleted(connect: Connect) -> None:
    """Runs can be started by filters and listed, and a deleted run is gone."""
    client = connect(RECORDED_AT)
    runs = client.evaluations.trace_runs
    with recorded("eval_run_filtered"):
        started = await settled(
            runs.create(metrics=["confidence"], filters={"session_id": "chat-1"}, sampling_rate=1.0)
        )
        states = [(await settled(runs.get(started.id))).status for _ in range(2)]
        page = await settled(runs.list(limit=1))
        await settled(runs.delete(started.id, delete_scores=True))
        with pytest.raises(NotFound, match=r"Eval run .* not found"):
            await settled(runs.get(started.id))

    assert states == ["RUNNING", "COMPLETED"]
    assert ([run.id for run in page.items], page.total) == ([started.id], 2)


async def test_a_failed_metric_of_a_run_is_tried_again(connect: Connect) -> None:
    """A COMPLETED run with a failed metric is retried, and then has nothing left to retry."""
    client = connect(RECORDED_AT)
    with recorded("eval_run_failures_retry"):
        first_state = await settled(
            client.evaluations.trace_runs.create_batch(trace_ids=[trace_id(1)], metrics=["confidence"], name="r1")
        )
        first = await settled(client.evaluations.get(first_state.id))
        result = await settled(first.wait())
        await settled(client.traces.update(trace_id(1), input="fine"))
        second = await settled(first.retry_failed())
        repeated = await settled(second.wait())
        with pytest.raises(InvalidRequest, match="No failed scores to retry"):
            await settled(second.retry_failed())

    assert (result.run.status, result.ok, len(result.failed)) == ("COMPLETED", False, 1)
    assert "LLM call to openai/fake-judge failed" in str(result.failed[0].reason)
    assert (repeated.ok, repeated.values("confidence"), repeated.missing) == (True, (0.95,), ())


async def test_refusals_of_runs(connect: Connect) -> None:
    """A refused run raises an error with the server's words; an empty list is refused without a request."""
    client = connect(RECORDED_AT)
    runs = client.evaluations.trace_runs
    with recorded("eval_run_errors", all_played=False):
        with pytest.raises(InvalidRequest, match="Unknown metrics: zzz"):
            await settled(runs.create(metrics=["zzz"]))
        with pytest.raises(InvalidRequest, match="No traces match the provided filters"):
            await settled(runs.create(metrics=["confidence"]))
        with pytest.raises(NotFound):
            await settled(runs.get(trace_id(1)))
        with pytest.raises(InvalidRequest, match="trace_ids: List should have at least 1 item") as empty:
            await settled(runs.create_batch(trace_ids=[], metrics=["confidence"]))
        with pytest.raises(NotFound):
            await settled(runs.retry(trace_id(1)))

    assert empty.value.status is None, "refused without a request"


async def test_a_run_over_sessions(connect: Connect) -> None:
    """Sessions have metrics, a run with scores, a ranking and a history."""
    client = connect(RECORDED_AT)
    metrics = ["agent_reliability", "agent_consistency"]
    with recorded("session_run"):
        known = await settled(client.evaluations.session_metrics())
        state = await settled(
            client.evaluations.session_runs.create_batch(session_ids=["chat-1"], metrics=metrics, name="s")
        )
        states = [await settled(client.evaluations.session_runs.get(state.id)) for _ in range(4)]
        scores = await settled(client.evaluations.session_runs.scores(state.id))
        of_session = await settled(client.scores.sessions.of_session("chat-1"))
        ranking = await settled(client.scores.sessions.comparison(metric_name="agent_reliability"))
        history = await settled(client.scores.sessions.history("chat-1"))

    assert {metric.name for metric in known} == set(metrics)
    assert [each.status for each in states] == ["RUNNING", "RUNNING", "RUNNING", "COMPLETED"]
    assert {score.name: score.parsed for score in scores} == {"agent_consistency": 0.9412, "agent_reliability": 0.88}
    assert {score.id for score in of_session} == {score.id for score in scores}
    assert [(row.session_id, row.score) for row in ranking.items] == [("chat-1", 0.88)]
    assert [(point.metric_name, point.score) for point in history] == [
        ("agent_reliability", 0.88),
        ("agent_consistency", 0.9412),
    ]


async def test_the_life_of_a_monitor(connect: Connect) -> None:
    """A monitor is made, read, listed, changed, paused, resumed, triggered, waited for and deleted."""
    client = connect(RECORDED_AT)
    with recorded("monitors"):
        made = await settled(
            client.monitors.create(name="m1", target_type="TRACE", metrics=["confidence"], cadence="daily")
        )
        read = await settled(client.monitors.get(made.id))
        listed = (await settled(client.monitors.list())).items
        changed = await settled(client.monitors.update(made.id, cadence="weekly"))
        paused = await settled(client.monitors.pause(made.id))
        resumed = await settled(client.monitors.resume(made.id))
        triggered = await settled(client.monitors.trigger(made.id))
        states = [await settled(client.evaluations.trace_runs.get(triggered.id)) for _ in range(2)]
        runs = await settled(client.monitors.runs(made.id))
        await settled(client.monitors.delete(made.id))
        with pytest.raises(NotFound, match=r"Eval monitor .* not found"):
            await settled(client.monitors.get(made.id))

    assert read == made
    assert [monitor.id for monitor in listed] == [made.id]
    assert (changed.cadence, changed.next_run_at) == ("weekly", datetime(2026, 12, 1, 23, 36, 3, 730246, tzinfo=UTC))
    assert (paused.status, paused.next_run_at, resumed.status) == ("PAUSED", None, "ACTIVE")
    assert (triggered.name, triggered.monitor_id) == ("[Monitor] m1", made.id)
    assert [state.status for state in states] == ["PENDING", "COMPLETED"]
    assert [run.id for run in runs.items] == [triggered.id]
