"""Answers that a server writes into an idle connection, as some do before they close it."""

from __future__ import annotations

import socket

import pytest

from strict_pandaprobe import Reply, StrictPandaProbe
from traced_app import traced_app
from waiting import wait_until

PUSHED = {
    401: b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n",
    408: b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n",
}


@pytest.mark.outer
@pytest.mark.parametrize("status", [401, 408])
def test_a_trace_behind_a_pushed_answer_is_posted_once(status: int) -> None:
    """An answer that was on its way before the second trace was posted neither repeats nor loses that trace."""

    def push(connection: socket.socket) -> None:
        connection.sendall(PUSHED[status] + b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\n{}")

    with StrictPandaProbe() as server, traced_app(server.url) as app:
        app.trace("first")
        assert app.flush()
        server.script.append(Reply(wire=push, carried_out=True))
        app.trace("second")
        assert app.flush()

        assert app.status().spans_dropped == {}
        assert (app.status().spans_delivered, app.status().spans_pending) == (2, 0)
        assert len(server.posts()) == len(server.traces) == 2


@pytest.mark.outer
@pytest.mark.parametrize("is_stored", [True, False])
@pytest.mark.parametrize("status", [401, 408])
def test_a_score_behind_a_pushed_answer_is_stored_once(status: int, is_stored: bool) -> None:
    """The score is looked up, and sent again only if PandaProbe does not have it."""
    answers = [Reply(wire=lambda connection: connection.sendall(PUSHED[status]), carried_out=is_stored)]
    scored = ("POST", "/evaluations/trace-scores")

    with StrictPandaProbe() as server, traced_app(server.url) as app:
        server.answer = lambda *request: answers.pop() if request == scored and answers else None
        app.trace("first")
        assert app.flush()
        trace_id = next(iter(server.traces))
        app.pipeline.put_score({"trace_id": trace_id, "name": "quality", "value": "0.5", "data_type": "NUMERIC"})
        wait_until(lambda: not answers)
        assert app.flush()
        assert (app.status().scores_dropped, app.status().spans_dropped) == ({}, {})
        assert [(one["name"], one["value"]) for one in server.scores] == [("quality", "0.5")]
