"""Both clients against the local server, with every operation at least once."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from both_clients import Connect, operations_of, rows_of, settled
from pandaprobe_otel.api import Client
from pandaprobe_otel.errors import InvalidRequest, NotFound
from pandaprobe_otel.local import LocalServer

NOW = datetime(2026, 5, 6, 7, 8, 9, tzinfo=UTC)
WINDOW = {"started_after": NOW - timedelta(days=1), "started_before": NOW + timedelta(days=1)}

_done: dict[str, set[str]] = {"sync": set(), "async": set()}


@pytest.fixture
def make(request: pytest.FixtureRequest, connect: Connect) -> Connect:
    """Return a function that connects a client with its own project, and records the operations it calls."""

    def made(endpoint: str, **options: Any) -> Any:
        watched = connect(endpoint, token="any", project_name=f"p-{uuid4()}", **options)
        watched.called = _done["async" if "async" in request.node.callspec.id else "sync"]
        return watched

    return made


@pytest.fixture
def client(make: Connect, server: LocalServer) -> Any:
    """Return a client of the local server."""
    return make(server.url)


async def make_trace(client: Any, **fields: Any) -> UUID:
    """Make a small trace and wait until it is visible."""
    spans = [{"name": "call", "kind": "LLM", "started_at": NOW, "ended_at": NOW, "model": "m"}]
    given = {"name": "t", "started_at": NOW, "input": "a b", "output": "a b", "spans": spans, **fields}
    accepted = await client.traces.create(**given)
    await client.traces.wait_visible(accepted.trace_id)
    return UUID(str(accepted.trace_id))


async def test_traces(client: Any) -> None:
    """A trace is created, read, changed, tagged, extended and deleted."""
    first = await make_trace(client, session_id="s-1", user_id="u-1")
    other = await make_trace(client, started_at=NOW + timedelta(seconds=1))
    added = await client.traces.add_spans(first, [{"name": "late", "started_at": NOW, "kind": "TOOL"}])
    span = await client.traces.update_span(first, added.span_ids[0], output={"n": 1})
    changed = await client.traces.update(first, status="ERROR", tags=["x"])
    tagged = await client.traces.tag([first, other], add=["y"], remove=["x"])
    trace = await client.traces.get(changed)
    listed = await client.traces.list(tags=["y"], sort_order="asc")
    walked = await rows_of(client.traces.iter(page_size=1))
    users = (await client.users.list()).items
    await client.traces.delete(other)
    deleted = await client.traces.delete_many([first, other])

    assert (span.output, span.kind, tagged.updated) == ({"n": 1}, "TOOL", 2)
    assert (trace.status, trace.tags, {each.name for each in trace.spans}) == ("ERROR", ["y"], {"call", "late"})
    assert [each.trace_id for each in listed.items] == [first, other]
    assert [each.trace_id for each in walked] == [other, first]
    assert [user.user_id for user in users] == ["u-1"]
    assert deleted.deleted == 1
    assert await rows_of(client.users.iter()) == []


async def test_outcomes(client: Any) -> None:
    """The `outcome` of a trace and a span is "cancelled" or "partial", and None for any other value."""
    for stored, outcome in (("cancelled", "cancelled"), ("partial", "partial"), ("well", None), (None, None)):
        metadata = {"outcome": stored} if stored else {}
        span = {"name": "call", "kind": "LLM", "started_at": NOW, "ended_at": NOW, "metadata": metadata}
        trace = await client.traces.get(await make_trace(client, metadata=metadata, spans=[span]))
        assert (trace.outcome, trace.spans[0].outcome) == (outcome, outcome)


async def test_analytics(client: Any) -> None:
    """Each metric of traces and sessions returns rows."""
    await make_trace(client, session_id="s-1", ended_at=NOW + timedelta(seconds=2))
    volume = await client.traces.activity(**WINDOW)
    tokens = await client.traces.token_usage(**WINDOW)
    models = await client.traces.top_models(**WINDOW)
    same = await client.traces.analytics(metric="models", **WINDOW)
    sessions = await client.sessions.analytics(granularity="hour", **WINDOW)

    assert [row.trace_count for row in volume] == [1]
    assert [row.total_tokens for row in tokens] == [0]
    assert [(row.model, row.call_count) for row in models] == [("m", 1)]
    assert same == models
    assert [(row.bucket, row.session_count) for row in sessions] == [(NOW.replace(minute=0, second=0), 1)]


async def test_sessions(client: Any) -> None:
    """A session has the sums of its traces."""
    for second in range(3):
        at = NOW + timedelta(seconds=second)
        await make_trace(client, session_id="s-1", started_at=at, ended_at=at + timedelta(seconds=2))
    session = await client.sessions.get("s-1")
    page = await client.sessions.get("s-1", limit=2, offset=1)
    listed = await client.sessions.list(query="S-")
    walked = await rows_of(client.sessions.iter())
    deleted = await client.sessions.delete("s-1")

    starts = [NOW + timedelta(seconds=second) for second in range(3)]
    assert [trace.started_at for trace in session.traces] == starts
    assert ([trace.started_at for trace in page.traces], page.trace_count) == (starts[1:], 3)
    assert [each.session_id for each in listed.items] == [each.session_id for each in walked] == ["s-1"]
    assert deleted.deleted == 3


async def test_scores(client: Any) -> None:
    """A score is given, listed, changed, summarised and deleted; it waits for its trace, without which it fails."""
    trace = uuid4()

    async def arrive() -> None:
        await asyncio.sleep(0.3)
        await client.traces.create(trace_id=trace, name="t", started_at=NOW)

    late, _ = await asyncio.gather(client.score(trace, "label", "late"), arrive())
    assert [each.id for each in (await client.scores.list(trace_id=trace)).items] == [late.id]
    await client.scores.delete(late.id)
    score = await client.score(trace, "good", 0.75)
    await client.scores.create(trace, "fine", False, source="ANNOTATION")
    listed = await client.scores.list(name="good")
    walked = await rows_of(client.scores.iter(trace_id=trace, page_size=1))
    of_trace = await client.scores.of_trace(trace)
    changed = await client.scores.update(score.id, value=0.25, metadata={"by": "me"})
    (summary,) = [row for row in await client.scores.summary() if row.metric_name == "good"]
    trend = await client.scores.trend(metric_name="good")
    bars = await client.scores.distribution(metric_name="good", buckets=2)
    await client.scores.delete(score.id)

    assert [each.id for each in listed.items] == [score.id]
    assert {each.name for each in walked} == {each.name for each in of_trace} == {"good", "fine"}
    assert (changed.parsed, changed.metadata, summary.avg_score) == (0.25, {"by": "me"}, 0.25)
    assert ([row.avg_score for row in trend], [bar.count for bar in bars]) == ([0.25], [1])
    assert {each.name for each in await client.scores.of_trace(trace)} == {"fine"}


async def test_runs_over_traces(client: Any) -> None:
    """A run is started by ids and by filters, waited for, listed, retried and deleted."""
    trace = await make_trace(client, session_id="s-1")
    evaluations = client.evaluations
    run = await evaluations.run("coherence", traces=[trace], name="one")
    result = await settled(run.wait(timeout=20))
    by_session = await evaluations.run("coherence", session="s-1")
    by_filter = await evaluations.trace_runs.create(metrics=["coherence"], filters={"session_id": "s-1"})
    by_ids = await evaluations.trace_runs.create_batch(metrics=["confidence"], trace_ids=[trace, uuid4()])
    found = await evaluations.get(by_ids.id)
    failed = await settled(found.wait(timeout=20))
    retried = await evaluations.trace_runs.retry(by_ids.id)
    listed = await evaluations.trace_runs.list()
    walked = await rows_of(evaluations.trace_runs.iter(page_size=2))
    state = await evaluations.trace_runs.get(run.id)
    scores = await evaluations.trace_runs.scores(run.id)
    await evaluations.trace_runs.delete(by_filter.id, delete_scores=True)

    assert (result.run.status, [score.id for score in result.scores]) == (state.status, [score.id for score in scores])
    assert (by_session.state.filters, by_filter.filters) == ({"session_id": "s-1"}, {"session_id": "s-1"})
    assert (len(failed.failed), len(failed.missing), failed.missing_count) == (1, 1, 1)
    assert failed.missing[0].metric == "confidence"
    assert retried.filters["retry_of"] == str(by_ids.id)
    assert {each.id for each in listed.items} == {each.id for each in walked}


async def test_runs_by_the_names_of_the_official_sdk(client: Any) -> None:
    """A run is created, waited for and read by the official SDK's method names, and has no score without evidence."""
    trace = await make_trace(client, output="")  # an empty output is coherent without a judge
    metrics = await client.evaluations.metrics()
    run = await client.evaluations.create([trace], ["coherence"], name="one")
    result = await client.evaluations.wait(run.id, trace_ids=[trace], metrics=["coherence"])
    scores = await client.evaluations.scores(run.id)
    walked = await rows_of(client.traces.iterate(max_items=1))

    assert metrics == await client.evaluations.trace_metrics()
    assert (run.name, [*result.scores]) == ("one", scores)
    assert [each.trace_id for each in walked] == [trace]


async def test_runs_over_sessions(client: Any) -> None:
    """Runs over sessions have scores, a ranking, a history and analytics."""
    await make_trace(client, session_id="s-1")
    run = await client.evaluations.run(["agent_reliability", "agent_consistency"], session="s-1")
    result = await settled(run.wait(timeout=20))
    runs = client.evaluations.session_runs
    by_filter = await runs.create(metrics=["agent_reliability"], filters={"min_trace_count": 1})
    by_ids = await runs.create_batch(metrics=["agent_reliability"], session_ids=["nope"])
    with pytest.raises(InvalidRequest, match="No failed scores"):
        await runs.retry(run.id)
    listed = await runs.list(status="COMPLETED")
    walked = await rows_of(runs.iter())
    assert {run.id, by_filter.id, by_ids.id} == {each.id for each in walked}
    assert run.id in {each.id for each in listed.items}
    assert (await runs.get(run.id)).target_type == "SESSION"
    assert {score.id for score in await runs.scores(run.id)} == {score.id for score in result.scores}
    await runs.delete(by_ids.id)

    scores = client.scores.sessions
    assert {each.name for each in await scores.of_session("s-1")} == set(run.state.metric_names)
    assert len((await scores.list(session_id="s-1", name="agent_consistency")).items) == 1
    assert {row.metric_name for row in await scores.summary()} == set(run.state.metric_names)
    assert [row.count for row in await scores.trend(metric_name="agent_consistency")] == [1]
    assert sum(bar.count for bar in await scores.distribution(metric_name="agent_consistency")) == 1
    assert [row.session_id for row in (await scores.comparison(metric_name="agent_consistency")).items] == ["s-1"]
    assert [row.session_id for row in await rows_of(scores.iter_comparison(metric_name="agent_consistency"))] == ["s-1"]
    assert [row.metric_name for row in await scores.history("s-1", metric_name="agent_consistency")] == [
        "agent_consistency"
    ]
    every = await rows_of(scores.iter())
    await scores.delete(every[0].id)
    assert len(await rows_of(scores.iter())) == len(every) - 1


async def test_metrics_providers_and_template(client: Any) -> None:
    """The server lists its metrics and providers and the template of a run."""
    of_traces = await client.evaluations.trace_metrics()
    of_sessions = await client.evaluations.session_metrics()
    providers = await client.evaluations.providers()
    template = await client.evaluations.template("confidence")

    assert "task_completion" in {metric.name for metric in of_traces}
    assert {metric.name for metric in of_sessions} == {"agent_reliability", "agent_consistency"}
    assert {"openai", "anthropic"} <= {provider.key for provider in providers}
    assert (template.metric.name, template.metric.default_threshold, template.sampling_rate) == ("confidence", 0.5, 1.0)


async def test_monitors(client: Any) -> None:
    """A monitor is made, changed, paused, triggered and deleted, and applied from a file."""
    await make_trace(client)
    monitors = client.monitors
    made = await monitors.create(name="m", target_type="TRACE", metrics=["coherence"], cadence="daily")
    assert (await monitors.update(made.id, cadence="cron:0 3 * * *")).cadence == "cron:0 3 * * *"
    assert (await monitors.pause(made.id)).status == "PAUSED"
    assert (await monitors.resume(made.id)).status == "ACTIVE"
    run = await monitors.trigger(made.id)
    assert [each.id for each in (await monitors.runs(made.id)).items] == [run.id]
    assert [each.id for each in await rows_of(monitors.iter_runs(made.id))] == [run.id]
    assert [each.id for each in (await monitors.list(status="ACTIVE")).items] == [made.id]
    assert [each.id for each in await rows_of(monitors.iter())] == [made.id]
    declared = {"monitor": [{"name": "n", "target_type": "TRACE", "metrics": ["coherence"], "cadence": "weekly"}]}
    plan = await monitors.plan(declared, prune=True)
    assert [(change.action, change.name) for change in plan.changes] == [("create", "n"), ("delete", "m")]
    assert await monitors.apply(declared) == await settled_plan_without_prune(plan)
    await monitors.delete(made.id)
    with pytest.raises(NotFound):
        await monitors.get(made.id)


async def settled_plan_without_prune(plan: Any) -> Any:
    """Return the plan without the changes that only `prune` makes."""
    return type(plan)(changes=plan.changes[:1], unchanged=plan.unchanged)


async def test_management(client: Any) -> None:
    """A token manages organizations, projects and keys, and reads its own user and the usage."""
    organizations, projects, keys = client.organizations, client.projects, client.api_keys
    (mine,) = [each for each in await organizations.list() if each.role == "OWNER"][:1]
    assert (await organizations.get(mine.id)).name == mine.name
    assert (await organizations.update("renamed", organization_id=mine.id)).name == "renamed"
    made = await organizations.create(f"o-{uuid4()}")
    project = await projects.create("p", organization_id=made.id)
    assert (await projects.update(project.id, description="d", organization_id=made.id)).description == "d"
    assert (await projects.get(project.id, organization_id=made.id)).name == "p"
    assert project.id in {each.id for each in await projects.list(made.id)}
    await projects.delete(project.id, organization_id=made.id)
    me, usage = await client.me.get(), await organizations.usage(made.id)
    assert (me.email, usage.traces, usage.limits["base_traces"]) == ("dev@localhost", 0, 100)
    key = await keys.create("k", expiration="90d", organization_id=made.id)
    rotated = await keys.rotate(key.id, organization_id=made.id)
    assert (await keys.get(rotated.id, organization_id=made.id)).raw_key is None
    await keys.delete(rotated.id, organization_id=made.id)
    assert not (await keys.get(rotated.id, organization_id=made.id)).is_active
    await keys.delete(rotated.id, organization_id=made.id, permanent=True)
    assert rotated.id not in {each.id for each in await keys.list(made.id)}
    assert key.raw_key != rotated.raw_key
    assert str(rotated.raw_key) not in f"{rotated!r} {rotated}"
    await organizations.delete(made.id)


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_no_operation_was_left_out(kind: str, server: LocalServer, request: pytest.FixtureRequest) -> None:
    """Together, the tests above call every operation of the client."""
    selected = [item for item in request.session.items if item.path == request.path]
    if len(selected) < len(_scenarios()) * 2:
        pytest.skip("every test of this module must run")
    with Client(endpoint=server.url) as client:
        every = set(operations_of(client))

    assert every - _done[kind] == {"look_up"}, "test_look_up.py tests look_up"


def _scenarios() -> list[str]:
    return [name for name in globals() if name.startswith("test_")]
