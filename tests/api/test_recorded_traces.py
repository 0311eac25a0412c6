"""Traces, sessions and management in both clients, against recorded answers of the real server."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from both_clients import Connect, rows_of, settled
from pandaprobe_otel.errors import Conflict, InvalidRequest, NotFound
from recorded_api import DAY, KEY, ORGANIZATION, PROJECT, RECORDED_AT, SPAN_TIME, at, recorded, trace_id


async def test_a_trace_is_created_and_read(connect: Connect) -> None:
    """An accepted trace can be waited for, and is returned with its spans, times and sums."""
    client = connect(RECORDED_AT)
    spans: list[dict[str, Any]] = [
        {"span_id": trace_id(1001), "name": "agent", "kind": "AGENT"},
        {"span_id": trace_id(1002), "name": "gpt", "kind": "LLM", "model": "gpt-x", "cost": {"total": 0.5}},
        {"span_id": trace_id(1003), "name": "get_weather", "kind": "TOOL"},
    ]
    spans[0] |= {"input": "what is the weather", "output": "the weather is fine"}
    spans[1] |= {"input": [{"role": "user", "content": "hi"}], "output": "ho"}
    spans[1] |= {"token_usage": {"prompt_tokens": 10, "completion_tokens": 5}, "parent_span_id": trace_id(1001)}
    spans[2] |= {"input": {"city": "Berlin"}, "output": "fine", "parent_span_id": trace_id(1001)}
    for span in spans:
        span |= {"started_at": SPAN_TIME, "ended_at": at(9)}

    with recorded("trace_create_and_read"):
        accepted = await settled(
            client.traces.create(
                trace_id=trace_id(1),
                name="trace 1",
                started_at=at(1),
                ended_at=at(3),
                input="what is the weather",
                output="the weather is fine",
                session_id="chat-1",
                user_id="u1",
                tags=["prod"],
                spans=spans,
            )
        )
        trace = await settled(client.traces.wait_visible(accepted.trace_id))

    assert (trace.trace_id, trace.name, trace.status, trace.started_at) == (trace_id(1), "trace 1", "COMPLETED", at(1))
    assert [(span.span_id, span.kind, span.parent_span_id) for span in trace.spans] == [
        (span["span_id"], span["kind"], span.get("parent_span_id")) for span in spans
    ]
    assert (trace.total_tokens, trace.total_cost, trace.spans[1].started_at) == (15, 0.5, SPAN_TIME)


async def test_all_pages_are_walked(connect: Connect) -> None:
    """Five traces in pages of two take three requests, and each trace comes once and in order."""
    client = connect(RECORDED_AT)
    with recorded("traces_list_iterate", all_played=False):
        traces = await rows_of(client.traces.iter(page_size=2))

    assert [trace.trace_id for trace in traces] == [trace_id(number) for number in (5, 4, 3, 2, 1)]


async def test_the_official_walk_ends_after_max_items(connect: Connect) -> None:
    """The official SDK's `iterate` ends after `max_items` rows without another request; 0 rows need no request."""
    client = connect(RECORDED_AT)
    with recorded("traces_list_iterate", all_played=False):
        traces = await rows_of(client.traces.iterate(max_items=2))
    nothing = await rows_of(client.traces.iterate(session_id="s", max_items=0))

    assert ([trace.trace_id for trace in traces], nothing) == ([trace_id(5), trace_id(4)], [])


async def test_a_page_past_the_end_is_empty(connect: Connect) -> None:
    """A page past the end has no rows, but the total."""
    client = connect(RECORDED_AT)
    with recorded("traces_list_iterate", all_played=False):
        page = await settled(client.traces.list(limit=2, offset=6))

    assert (page.items, page.total, page.limit, page.offset) == ([], 5, 2, 6)


async def test_traces_are_filtered_and_sorted(connect: Connect) -> None:
    """Filters are sent as the server reads them: repeated tags, encoded time zone offsets, enumerations."""
    client = connect(RECORDED_AT)
    with recorded("traces_list_filters"):
        found = [
            await settled(client.traces.list(**filters))
            for filters in (
                {"session_id": "chat-1"},
                {"user_id": "u1"},
                {"status": "ERROR"},
                {"tags": ["prod", "dev"]},
                {"name": "OTHER"},
                {"started_after": at(2), "started_before": at(3)},
                {"sort_by": "name", "sort_order": "asc"},
            )
        ]

    numbers = [[item.trace_id.int & 0xF for item in page.items] for page in found]
    assert numbers == [[1], [1], [2], [2, 1], [3], [2], [3, 1, 2]]


async def test_a_trace_that_is_not_there(connect: Connect) -> None:
    """A missing trace raises NotFound with the server's words; an invalid id is refused without a request."""
    client = connect(RECORDED_AT)
    with recorded("trace_get", all_played=False):
        trace = await settled(client.traces.get(trace_id(1)))
        with pytest.raises(NotFound) as missing:
            await settled(client.traces.get(str(trace_id(99))))
        with pytest.raises(InvalidRequest) as malformed:
            await settled(client.traces.get("abc"))

    assert trace.trace_id == trace_id(1)
    assert (missing.value.status, missing.value.detail) == (404, f"Trace {trace_id(99)} not found.")
    assert (malformed.value.status, malformed.value.errors[0].field) == (None, "trace_id")


async def test_a_trace_is_changed(connect: Connect) -> None:
    """Given fields change, None clears a field, and metadata is merged; the whole trace is returned."""
    client = connect(RECORDED_AT)
    with recorded("trace_update", all_played=False):
        failed = await settled(client.traces.update(trace_id(1), status="ERROR", output={"x": 1}))
        cleared = await settled(client.traces.update(trace_id(1), session_id=None, metadata={"b": 2}))
        unchanged = await settled(client.traces.update(trace_id(1)))
        with pytest.raises(NotFound):
            await settled(client.traces.update(trace_id(99), name="x"))
        with pytest.raises(InvalidRequest, match="status: must be one of PENDING, RUNNING, COMPLETED, ERROR"):
            await settled(client.traces.update(trace_id(1), status="OK"))

    assert (failed.status, failed.output, failed.session_id) == ("ERROR", {"x": 1}, "s")
    assert (cleared.session_id, cleared.metadata, cleared.output) == (None, {"a": 1, "b": 2}, {"x": 1})
    assert unchanged == cleared


async def test_spans_are_added_and_changed(connect: Connect) -> None:
    """Spans are sent as a bare list, and an unknown span raises NotFound."""
    client = connect(RECORDED_AT)
    spans = [
        {"span_id": trace_id(11), "name": "span 11", "started_at": SPAN_TIME, "kind": "LLM"},
        {"span_id": trace_id(12), "name": "span 12", "started_at": SPAN_TIME, "kind": "TOOL"},
    ]
    with recorded("trace_upsert", all_played=False):
        added = await settled(client.traces.add_spans(trace_id(1), spans))
    with recorded("span_update", all_played=False):
        span = await settled(
            client.traces.update_span(trace_id(1), trace_id(11), status="OK", output=1, ended_at=at(9))
        )
        with pytest.raises(NotFound, match="not found on trace"):
            await settled(client.traces.update_span(trace_id(1), trace_id(12)))

    assert added.span_ids == [trace_id(11), trace_id(12)]
    assert (span.status, span.output, span.ended_at, span.latency_ms) == ("OK", 1, at(9), 1876.544)


async def test_tags_of_many_traces(connect: Connect) -> None:
    """Tags of many traces can be changed at once, and unknown ids are skipped."""
    client = connect(RECORDED_AT)
    with recorded("tags_batch"):
        tagged = await settled(client.traces.tag([trace_id(1), trace_id(2), trace_id(99)], add=["x"], remove=["a"]))
        traces = [await settled(client.traces.get(trace_id(number))) for number in (1, 2)]

    assert tagged.updated == 2
    assert [trace.tags for trace in traces] == [["x"], ["x"]]


async def test_traces_are_deleted(connect: Connect) -> None:
    """A deleted trace is gone at a second deletion; several can be deleted at once, and the others remain."""
    client = connect(RECORDED_AT)
    with recorded("traces_delete"):
        nothing = await settled(client.traces.delete(trace_id(1)))
        with pytest.raises(NotFound):
            await settled(client.traces.delete(trace_id(1)))
        users = await settled(client.users.list())
        deleted = await settled(client.traces.delete_many([trace_id(2), trace_id(3), trace_id(99)]))
        left = await settled(client.traces.list())

    assert (nothing, deleted.deleted, left.items) == (None, 2, [])
    assert [(user.user_id, user.trace_count, user.first_seen) for user in users.items] == [
        ("v", 1, at(3)),
        ("u", 1, at(2)),
    ]


async def test_sessions(connect: Connect) -> None:
    """Sessions can be listed, filtered, read with all traces and deleted."""
    client = connect(RECORDED_AT)
    with recorded("sessions"):
        both = await settled(client.sessions.list())
        failed = await settled(client.sessions.list(has_error=True))
        session = await settled(client.sessions.get("s1"))
        with pytest.raises(NotFound, match="Session 'nope' not found"):
            await settled(client.sessions.get("nope"))
        deleted = await settled(client.sessions.delete("s1"))
        with pytest.raises(NotFound):
            await settled(client.sessions.get("s1"))
        rest = (await settled(client.sessions.list())).items

    assert [each.session_id for each in both.items] == ["s2", "s1"]
    assert [each.session_id for each in failed.items] == ["s1"]
    assert (session.trace_count, session.has_error, session.user_id) == (2, True, "u")
    assert [trace.trace_id for trace in session.traces] == [trace_id(1), trace_id(2)]
    assert deleted.deleted == 2
    assert [each.session_id for each in rest] == ["s2"]


async def test_analytics_are_typed_rows(connect: Connect) -> None:
    """Each metric has its own row type, and buckets are times in UTC."""
    client = connect(RECORDED_AT)
    with recorded("analytics", all_played=False):
        by_hour = {"granularity": "hour", **DAY}
        volume = await settled(client.traces.activity("volume", **by_hour))
        errors = await settled(client.traces.activity("errors", **by_hour))
        latency = await settled(client.traces.analytics(metric="latency", **by_hour))
        cost = await settled(client.traces.token_usage("cost", **by_hour))
        tokens = await settled(client.traces.analytics(metric="tokens", **by_hour))
        models = await settled(client.traces.top_models(**by_hour))
        sessions = await settled(client.sessions.analytics(**DAY))
        with pytest.raises(InvalidRequest) as missing:
            await settled(client.traces.analytics())

    hour = datetime(2025, 3, 4, 5, tzinfo=UTC)
    assert [(row.bucket, row.trace_count, row.error_count) for row in volume] == [(hour, 2, 1)]
    assert (errors, latency[0].p99_latency_ms) == (volume, 2000.0)
    assert [(row.bucket, row.total_tokens, row.total_cost) for row in cost] == [(hour, 15, 0.5)]
    assert tokens == cost
    assert [(row.model, row.call_count, row.total_tokens) for row in models] == [("gpt-x", 1, 15)]
    assert [(row.session_count, row.avg_session_duration_ms) for row in sessions] == [(1, 2000.0)]
    assert [error.field for error in missing.value.errors] == ["started_after", "started_before"]


async def test_management_with_a_token(connect: Connect) -> None:
    """A token reads its user, organization, projects and keys; a key's repr does not show its secret."""
    client = connect(RECORDED_AT, token="token", organization_id=ORGANIZATION)
    with recorded("management"):
        me = await settled(client.me.get())
        organization = await settled(client.organizations.get())
        project = await settled(client.projects.create("cassettes-managed", description="d"))
        with pytest.raises(Conflict, match="already exists"):
            await settled(client.projects.create("cassettes-managed"))
        changed = await settled(client.projects.update(project.id, description="e"))
        read = await settled(client.projects.get(PROJECT))
        await settled(client.projects.delete(PROJECT))
        key = await settled(client.api_keys.create("cassette", expiration="90d"))
        key_later = await settled(client.api_keys.get(KEY))
        await settled(client.api_keys.revoke(KEY))
        await settled(client.api_keys.delete(KEY))
        usage = await settled(client.organizations.billing.usage())

    assert (me.email, organization.role, str(project.id)) == ("dev@localhost", "OWNER", PROJECT)
    assert (changed.description, read) == ("e", changed)
    assert (key.raw_key, key_later.raw_key) == ("REDACTED", None)
    assert "REDACTED" not in f"{key!r} {key}"
    assert (usage.plan, usage.traces, usage.limits["max_members"]) == ("DEVELOPMENT", 3817, 1)
