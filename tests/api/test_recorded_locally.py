"""Operations without a recording of the real server: both clients against recorded answers of the local server.

The local server passes the recorded cases of the real one (tests/local/test_contract.py). These recordings show if the
client and the local server change together.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from both_clients import Connect, settled
from pandaprobe_otel.errors import InvalidRequest, NotFound, PermissionDenied
from recorded_api import LOCALLY_RECORDED_AT, SPAN_TIME, recorded_locally, trace_id

INVITATION = trace_id(77)


async def test_the_template_of_a_run(connect: Connect) -> None:
    """The template of a run has the metric with its prompts, and the defaults of a run."""
    client = connect(LOCALLY_RECORDED_AT)
    with recorded_locally("run_template"):
        template = await settled(client.evaluations.template("task_completion"))

    assert (template.metric.name, template.metric.default_threshold) == ("task_completion", 0.5)
    assert (template.sampling_rate, template.filters.date_from) == (1.0, None)


async def test_runs_over_sessions_by_filters(connect: Connect) -> None:
    """Runs are started, listed, read and deleted, and a retry is refused; scores come singly and summarised."""
    client = connect(LOCALLY_RECORDED_AT)
    runs, scores = client.evaluations.session_runs, client.scores.sessions
    with recorded_locally("session_runs"):
        for number in (1, 2):
            await make_trace(client, number)
        started = await settled(
            runs.create(metrics=["agent_consistency"], filters={"min_trace_count": 2}, name="nightly")
        )
        result = await settled((await settled(client.evaluations.get(started.id))).wait())
        page = await settled(runs.list(status="COMPLETED", limit=10))
        with pytest.raises(InvalidRequest, match="No failed scores to retry"):
            await settled(runs.retry(started.id))
        listed = await settled(scores.list(session_id="chat-1", status="SUCCESS"))
        summary = await settled(scores.summary())
        trend = await settled(scores.trend(metric_name="agent_consistency", granularity="day"))
        bars = await settled(scores.distribution(metric_name="agent_consistency", buckets=4))
        await settled(scores.delete(listed.items[0].id))
        left = await settled(scores.list(session_id="chat-1"))
        await settled(runs.delete(started.id, delete_scores=True))
        with pytest.raises(NotFound):
            await settled(runs.get(started.id))

    assert (started.target_type, started.name, result.run.status) == ("SESSION", "nightly", "COMPLETED")
    assert [run.id for run in page.items] == [started.id]
    assert [(score.session_id, score.name) for score in listed.items] == [("chat-1", "agent_consistency")]
    assert [score.id for score in result.scores] == [score.id for score in listed.items]
    assert left.items == []
    assert [(row.metric_name, row.success_count) for row in summary] == [("agent_consistency", 1)]
    assert [row.count for row in trend] == [bar.count for bar in bars] == [1]
    assert trend[0].avg_score == summary[0].avg_score == listed.items[0].parsed


async def make_trace(client: Any, number: int) -> None:
    """Make a trace of one session and wait until it is visible."""
    started_at = SPAN_TIME + timedelta(seconds=number)
    span = {"span_id": trace_id(1000 + number), "name": "call", "kind": "LLM", "started_at": started_at}
    await settled(
        client.traces.create(
            trace_id=trace_id(number),
            name=f"trace {number}",
            started_at=started_at,
            session_id="chat-1",
            input="tea",
            output="tea",
            spans=[span],
        )
    )
    await settled(client.traces.wait_visible(trace_id(number)))


async def test_organizations_projects_and_keys(connect: Connect) -> None:
    """Organizations are created, listed, renamed and deleted, projects are listed, and a key is replaced."""
    client = connect(LOCALLY_RECORDED_AT, token="token")
    organizations, projects, keys = client.organizations, client.projects, client.api_keys
    with recorded_locally("organizations"):
        made = await settled(organizations.create("made"))
        listed = await settled(organizations.list())
        renamed = await settled(organizations.update("renamed", organization_id=made.id))
        project_list = await settled(projects.list(made.id))
        key = await settled(keys.create("k", expiration="90d", organization_id=made.id))
        rotated = await settled(keys.rotate(key.id, organization_id=made.id))
        key_list = await settled(keys.list(made.id))
        await settled(organizations.delete(made.id))
        with pytest.raises(PermissionDenied, match="not a member"):
            await settled(organizations.get(made.id))

    assert [(each.name, each.role) for each in listed] == [("local", "OWNER"), ("made", "OWNER")]
    assert (renamed.id, renamed.name) == (made.id, "renamed")
    assert [project.name for project in project_list] == ["onboarding"]
    assert (rotated.name, rotated.is_active) == ("k", True)
    assert rotated.raw_key
    assert rotated.raw_key not in f"{rotated!r} {rotated}"
    assert [each.id for each in key_list] == [key.id, rotated.id]
    assert [each.raw_key for each in key_list] == [None, None]


async def test_members_and_invitations(connect: Connect) -> None:
    """The only member keeps its role, the plan allows no second member, and each refusal has its own exception."""
    client = connect(LOCALLY_RECORDED_AT, token="token")
    with recorded_locally("members"):
        (organization,) = await settled(client.organizations.list())
        part = client.organizations.members
        where = {"organization_id": organization.id}
        me = await settled(client.me.get())
        members = await settled(part.list(organization.id))
        with pytest.raises(PermissionDenied, match="Cannot change your own role"):
            await settled(part.set_role(me.id, "MEMBER", **where))
        with pytest.raises(PermissionDenied, match="Cannot remove an OWNER"):
            await settled(part.remove(me.id, **where))
        with pytest.raises(PermissionDenied, match="allows up to 1 member"):
            await settled(part.invite("a@example.org", role="ADMIN", **where))
        invitations = await settled(part.invitations(organization.id))
        with pytest.raises(NotFound):
            await settled(part.revoke_invitation(INVITATION, **where))
        mine = await settled(client.me.invitations())
        for answer in (client.me.accept_invitation, client.me.decline_invitation):
            with pytest.raises(NotFound):
                await settled(answer(INVITATION))

    assert [(member.user_id, member.role, member.org_id) for member in members] == [(me.id, "OWNER", organization.id)]
    assert (invitations, mine) == ([], [])


async def test_plans_and_bills(connect: Connect) -> None:
    """The plan, its allowances and a bill of zero can be read."""
    client = connect(LOCALLY_RECORDED_AT, token="token")
    billing = client.organizations.billing
    with recorded_locally("billing"):
        (organization,) = await settled(client.organizations.list())
        plans = {plan.name: plan for plan in await settled(billing.plans())}
        subscription = await settled(billing.subscription(organization.id))
        bill = await settled(billing.bill(organization.id))
        past = await settled(billing.past(organization.id, limit=3))

    assert (subscription.org_id, subscription.plan, subscription.status) == (organization.id, "DEVELOPMENT", "ACTIVE")
    assert (plans["HOBBY"].base_traces, plans["DEVELOPMENT"].base_traces) == (100, None)
    assert (bill.plan, bill.traces.used, bill.traces.included, past) == ("DEVELOPMENT", 0, None, [])
