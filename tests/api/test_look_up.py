"""Requests whose answer was lost: the client looks up whether the server carried them out."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from both_clients import Connect, settled
from pandaprobe_otel.errors import InvalidRequest, OutcomeUnknown
from provider_server import json_reply
from scripted_api import FAILED, RESET, ScriptedApi, served_monitor, served_run, served_score

TRACE, RUN, MONITOR = str(uuid4()), str(uuid4()), str(uuid4())


def moment(*, minutes_ago: float = 0.0) -> str:
    """Return a time as the server writes it."""
    return (datetime.now(UTC) - timedelta(minutes=minutes_ago)).isoformat()


def run(**fields: Any) -> dict[str, Any]:
    """Return a run that was just started."""
    return served_run(**{"created_at": moment(), "filters": {"trace_ids": [TRACE]}, **fields})


def score(**fields: Any) -> dict[str, Any]:
    """Return a score that was just given."""
    return served_score(**{"trace_id": TRACE, "created_at": moment(), **fields})


def monitor(**fields: Any) -> dict[str, Any]:
    """Return a monitor that was just made."""
    return served_monitor(created_at=moment(), **fields)


def page(*items: dict[str, Any]) -> dict[str, Any]:
    """Return a page of a list."""
    return {"items": list(items), "total": len(items), "limit": 50, "offset": 0}


async def lost(call: Any) -> OutcomeUnknown:
    """Return the error of a call whose answer is lost."""
    with pytest.raises(OutcomeUnknown, match=r"client\.look_up\(error\)") as unknown:
        await settled(call())
    return unknown.value


RUNS, SCORES, MONITORS = "/evaluations/trace-runs", "/evaluations/trace-scores", "/evaluations/monitors"
EARLIER = {"created_at": moment(minutes_ago=10)}
DATES = {"date_from": datetime(2026, 1, 1, tzinfo=UTC)}
OTHER = {"user_id": "u", "date_from": "2026-01-01T00:00:00+00:00"}
"""Filters as the server writes them, with other dates."""


@pytest.mark.parametrize(
    ("call", "route", "listed", "make", "wanted", "others"),
    [
        pytest.param(
            lambda client: client.evaluations.trace_runs.create_batch(metrics=["coherence"], trace_ids=[TRACE]),
            f"{RUNS}/batch",
            RUNS,
            run,
            {},
            [{"metric_names": ["m"]}, {"name": "n"}, {"filters": {"trace_ids": [str(uuid4())]}}, EARLIER],
            id="run",
        ),
        pytest.param(
            lambda client: client.evaluations.trace_runs.create(
                metrics=["coherence"], filters={"user_id": "u", **DATES}, name="n"
            ),
            RUNS,
            RUNS,
            run,
            {"filters": OTHER, "name": "n"},
            [{"filters": {"user_id": "v"}}, {"filters": {"retry_of": RUN}}],
            id="filters",
        ),
        pytest.param(
            lambda client: client.evaluations.trace_runs.retry(RUN),
            f"{RUNS}/{RUN}/retry",
            RUNS,
            run,
            {"filters": {"retry_of": RUN}, "name": "Retry: n"},
            [{"filters": OTHER}],
            id="retry",
        ),
        pytest.param(
            lambda client: client.score(TRACE, "good", 0.5), SCORES, SCORES, score, {}, [{"value": "0.6"}, EARLIER],
            id="score",
        ),
        pytest.param(
            lambda client: client.monitors.create(name="m", target_type="TRACE", metrics=["x"], cadence="daily"),
            MONITORS,
            MONITORS,
            monitor,
            {},
            [{"name": "other"}],
            id="monitor",
        ),
        pytest.param(
            lambda client: client.monitors.trigger(MONITOR),
            f"{MONITORS}/{MONITOR}/trigger",
            f"{MONITORS}/{MONITOR}/runs",
            run,
            {"monitor_id": MONITOR},
            [EARLIER],
            id="trigger",
        ),
    ],
)  # fmt: skip
async def test_a_request_whose_answer_was_lost_is_looked_up(
    connect: Connect,
    call: Callable[[Any], Any],
    route: str,
    listed: str,
    make: Callable[..., dict[str, Any]],
    wanted: dict[str, Any],
    others: list[dict[str, Any]],
) -> None:
    """A resource counts as made by the request if it has the same content and was made since the request."""
    right, wrong = make(**wanted), [make(**{**wanted, **other}) for other in others]
    with ScriptedApi() as api:
        api.serve(f"POST {route}", RESET)
        api.serve(f"GET {listed}", page(*wrong[:1], right, *wrong[1:]), page(*wrong))
        client = connect(api.url)
        error = await lost(lambda: call(client))
        found = [await client.look_up(error) for _ in range(2)]
        assert len(api.requests(f"POST {route}")) == 1

    assert [[str(each.id) for each in rows] for rows in found] == [[right["id"]], []]


async def test_an_operation_that_cannot_be_looked_up_raises(connect: Connect) -> None:
    """An operation that cannot be looked up, such as a new organization, raises an error."""
    with ScriptedApi() as api:
        client = connect(api.url, token="t")
        api.serve("POST /organizations", RESET)
        error = await lost(lambda: client.organizations.create("o"))
        with pytest.raises(InvalidRequest, match="cannot be looked up"):
            await client.look_up(error)
        with pytest.raises(InvalidRequest, match="does not describe the request"):
            await client.look_up(OutcomeUnknown("Somebody else's."))


async def test_a_score_after_a_failure_is_given_once(connect: Connect) -> None:
    """After a 500, the score is looked up and not given a second time."""
    given = score()
    trace = {
        "trace_id": TRACE,
        "project_id": str(uuid4()),
        "name": "t",
        "status": "COMPLETED",
        "started_at": moment(),
    }
    for stored, posts in ((page(given), 1), (page(), 2)):
        with ScriptedApi() as api:
            api.serve("POST /evaluations/trace-scores", FAILED, json_reply(given, status=201))
            api.serve(f"GET /traces/{TRACE}", trace)
            api.serve("GET /evaluations/trace-scores", stored)
            made = await connect(api.url).score(TRACE, "good", 0.5)
            assert str(made.id) == given["id"]
            assert len(api.requests("POST /evaluations/trace-scores")) == posts
