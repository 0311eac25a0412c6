"""Give a score to a trace that may not be visible yet."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from pandaprobe_otel.api.arguments.scores import ScoreBody, ScoreListQuery
from pandaprobe_otel.api.call_steps import Connection, Steps, call
from pandaprobe_otel.api.endpoint import Endpoint, Repeat
from pandaprobe_otel.api.models import Page, TraceScore
from pandaprobe_otel.api.waiting import GET_TRACE, wait_for_trace
from pandaprobe_otel.errors import NotFound, ServerError

_PATH: Final = "/evaluations/trace-scores"
CREATE: Final = Endpoint(method="POST", path=_PATH, body=ScoreBody, answer=TraceScore, repeat=Repeat.NEVER)
LIST: Final = Endpoint(method="GET", path=_PATH, query=ScoreListQuery, answer=Page[TraceScore])

CLOCK_SKEW: Final = timedelta(minutes=2)
"""Largest assumed difference between the clocks of this machine and the server, for searching new objects."""


def give_score(connection: Connection, body: Mapping[str, Any], wait_s: float) -> Steps[TraceScore]:
    """Give a score. If that fails because the trace is not visible, wait for it and give the score again.

    For an invisible trace, server 0.5.0 answers 500 (measured), other servers answer 404. A score is never given twice.
    After a 500, the score is sent again only if the trace was not visible (the server cannot have stored the score
    then), or if the server does not have the score.
    """
    begun = connection.now()
    trace_id = str(body["trace_id"])
    try:
        return (yield from call(connection, CREATE, body=body))
    except NotFound:
        if wait_s <= 0:
            raise
        visible = False
    except ServerError as error:
        if error.status != 500:
            raise
        if wait_s <= 0:
            raise ServerError(
                f"{error} A 500 here usually means that trace {trace_id} is not visible yet or does not exist in"
                " this project.",
                status=500,
                detail=error.detail,
                request_id=error.request_id,
            ) from None
        visible = yield from _is_visible(connection, trace_id)
    if not visible:
        yield from wait_for_trace(connection, trace_id, wait_s)
    elif same := (yield from find_scores(connection, body, since=begun - CLOCK_SKEW)):
        return same[0]
    return (yield from call(connection, CREATE, body=body))


def find_scores(connection: Connection, body: Mapping[str, Any], *, since: datetime) -> Steps[list[TraceScore]]:
    """Return the scores that a body may have created since a moment, latest first."""
    query = {"trace_id": body["trace_id"], "name": body["name"], "limit": 50}
    page = yield from call(connection, LIST, query=query)
    return [score for score in page.items if score.created_at >= since and score.value == body["value"]]


def _is_visible(connection: Connection, trace_id: str) -> Steps[bool]:
    try:
        yield from call(connection, GET_TRACE, path={"trace_id": trace_id})
    except NotFound:
        return False
    return True
