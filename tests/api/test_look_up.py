"""Requests whose answer was lost: the client looks up whether the server carried them out."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from both_clients import Connect, settled
from pandaprobe_otel.errors import InvalidRequest, OutcomeUnknown
from scripted_api import FAILED, RESET, ScriptedApi, Told

TRACE, RUN, MONITOR = str(uuid4()), str(uuid4()), str(uuid4())


def moment(*, minutes_ago: float = 0.0) -> str:
    """Return a time as the server writes it."""
    return (datetime.now(UTC) - timedelta(minutes=minutes_ago)).isoformat()


def run(**fields: Any) -> dict[str, Any]:
    """Return a run as the server describes it."""
    return {
        "id": str(uuid4()),
        "name": None,
        "status": "PENDING",
        "metric_names": ["coherence"],
        "total_targets": 1,
        "evaluated_count": 0,
        "failed_count": 0,
        "created_at": moment(),
        "project_id": str(uuid4()),
        "target_type": "TRACE",
        "filters": {"trace_ids": [TRACE]},
        **fields,
    }


def page(*items: dict[str, Any]) -> dict[str, Any]:
    """Return a page of a list."""
    return {"items": list(items), "total": len(items), "limit": 50, "offset": 0}


async def lost(call: Any) -> OutcomeUnknown:
    """Return the error of a call whose answer is lost."""
    with pytest.raises(OutcomeUnknown, match=r"client\.look_up\(error\)") as unknown:
        await settled(call())
    return unknown.value


async def test_a_run_over_traces(connect: Connect) -> None:
    """A run over traces matches if it has the same targets, metrics and name, and was made since the request."""
    wanted = run()
    others = [
        run(metric_names=["confidence"]),
        run(name="nightly"),
        run(filters={"trace_ids": [str(uuid4())]}),
        run(created_at=moment(minutes_ago=10)),
    ]
    with ScriptedApi() as api:
        client = connect(api.url)
        api.tell("POST /evaluations/trace-runs/batch", RESET)
        api.tell("GET /evaluations/trace-runs", page(*others[:2], wanted, *others[2:]), page(*others))
        error = await lost(lambda: client.evaluations.trace_runs.create_batch(metrics=["coherence"], trace_ids=[TRACE]))
        found = await settled(client.look_up(error))
        not_there = await settled(client.look_up(error))
        posts = api.requests("POST /evaluations/trace-runs/batch")

    assert [str(each.id) for each in found] == [wanted["id"]]
    assert (not_there, len(posts)) == ([], 1)


async def test_a_run_over_filters_and_a_retry(connect: Connect) -> None:
    """A run over filters matches without its dates, which the server writes differently; a retry names its run."""
    by_filter = run(filters={"user_id": "u", "date_from": "2026-01-01T00:00:00+00:00"}, name="n")
    retry = run(filters={"retry_of": RUN}, name="Retry: n")
    with ScriptedApi() as api:
        client = connect(api.url)
        runs = client.evaluations.trace_runs
        api.tell("POST /evaluations/trace-runs", RESET)
        api.tell(f"POST /evaluations/trace-runs/{RUN}/retry", RESET)
        api.tell("GET /evaluations/trace-runs", page(retry, by_filter))
        filters = {"user_id": "u", "date_from": datetime(2026, 1, 1, tzinfo=UTC)}
        first = await lost(lambda: runs.create(metrics=["coherence"], filters=filters, name="n"))
        second = await lost(lambda: runs.retry(RUN))
        found = [await settled(client.look_up(error)) for error in (first, second)]

    assert [[str(each.id) for each in rows] for rows in found] == [[by_filter["id"]], [retry["id"]]]


def given_score() -> dict[str, Any]:
    """Return a score as the server describes it, given at the time of the call."""
    return {
        "id": str(uuid4()),
        "trace_id": TRACE,
        "name": "good",
        "value": "0.5",
        "status": "SUCCESS",
        "source": "PROGRAMMATIC",
        "data_type": "NUMERIC",
        "project_id": str(uuid4()),
        "created_at": moment(),
        "updated_at": moment(),
    }


async def test_a_score(connect: Connect) -> None:
    """A score matches if it has the same trace, name and value, and was given since the request."""
    score = given_score()
    earlier = {**score, "id": str(uuid4()), "created_at": moment(minutes_ago=10)}
    with ScriptedApi() as api:
        client = connect(api.url)
        api.tell("POST /evaluations/trace-scores", RESET)
        api.tell("GET /evaluations/trace-scores", page(score, {**score, "value": "0.6"}, earlier))
        error = await lost(lambda: client.score(TRACE, "good", 0.5))
        found = await settled(client.look_up(error))
        query = api.requests("GET /evaluations/trace-scores")[0].query

    assert [str(each.id) for each in found] == [score["id"]]
    assert query == f"trace_id={TRACE}&name=good&limit=50"


async def test_a_monitor_and_its_trigger(connect: Connect) -> None:
    """A monitor is found by its name, and its triggered run is found too."""
    monitor = {
        "id": MONITOR,
        "project_id": str(uuid4()),
        "name": "m",
        "target_type": "TRACE",
        "metric_names": ["coherence"],
        "sampling_rate": 1.0,
        "cadence": "daily",
        "only_if_changed": True,
        "status": "ACTIVE",
        "created_at": moment(),
        "updated_at": moment(),
    }
    triggered = run(monitor_id=MONITOR)
    with ScriptedApi() as api:
        client = connect(api.url)
        api.tell("POST /evaluations/monitors", RESET)
        api.tell(f"POST /evaluations/monitors/{MONITOR}/trigger", RESET)
        api.tell("GET /evaluations/monitors", page({**monitor, "name": "other", "id": str(uuid4())}, monitor))
        api.tell(f"GET /evaluations/monitors/{MONITOR}/runs", page(triggered, run(created_at=moment(minutes_ago=9))))
        made = await lost(
            lambda: client.monitors.create(name="m", target_type="TRACE", metrics=["coherence"], cadence="daily")
        )
        started = await lost(lambda: client.monitors.trigger(MONITOR))
        found = [await settled(client.look_up(error)) for error in (made, started)]

    assert [[str(each.id) for each in rows] for rows in found] == [[MONITOR], [triggered["id"]]]


async def test_an_operation_that_cannot_be_looked_up_raises(connect: Connect) -> None:
    """An operation that cannot be looked up, such as a new organization, raises an error."""
    with ScriptedApi() as api:
        client = connect(api.url, token="t")
        api.tell("POST /organizations", RESET)
        error = await lost(lambda: client.organizations.create("o"))
        with pytest.raises(InvalidRequest, match="cannot be looked up"):
            await settled(client.look_up(error))
        with pytest.raises(InvalidRequest, match="does not describe the request"):
            await settled(client.look_up(OutcomeUnknown("Somebody else's.")))


async def test_a_score_after_a_failure_is_given_once(connect: Connect) -> None:
    """After a 500, the score is looked up and not given a second time."""
    score = given_score()
    trace = {
        "trace_id": TRACE,
        "project_id": str(uuid4()),
        "name": "t",
        "status": "COMPLETED",
        "started_at": moment(),
    }
    for stored, posts in ((page(score), 1), (page(), 2)):
        with ScriptedApi() as api:
            api.tell("POST /evaluations/trace-scores", FAILED, Told(status=201, body=score))
            api.tell(f"GET /traces/{TRACE}", trace)
            api.tell("GET /evaluations/trace-scores", stored)
            given = await settled(connect(api.url).score(TRACE, "good", 0.5))
            assert str(given.id) == score["id"]
            assert len(api.requests("POST /evaluations/trace-scores")) == posts
