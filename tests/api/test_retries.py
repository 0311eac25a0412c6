"""Retries, and requests that are never repeated, in simulated time."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from pandaprobe_otel.api.arguments.traces import SpanArguments
from pandaprobe_otel.api.call_steps import call
from pandaprobe_otel.api.resources import traces
from pandaprobe_otel.api.resources.runs import TRACE_RUNS
from pandaprobe_otel.errors import OutcomeUnknown, RateLimited, ServerError
from pandaprobe_otel.transport.request_outcome import Outcome
from simulated_calls import LIMITED_BODY, LOST, REFUSED, Simulation, answer, in_turn

EMPTY = answer(200, {"items": [], "total": 0, "limit": 50, "offset": 0})
RUN = {"metrics": ["m"], "trace_ids": [str(uuid4())]}
STARTED = {
    "id": str(uuid4()),
    "status": "PENDING",
    "metric_names": ["m"],
    "total_targets": 1,
    "evaluated_count": 0,
    "failed_count": 0,
    "created_at": "2026-01-02T03:04:05+00:00",
    "project_id": str(uuid4()),
    "target_type": "TRACE",
}
RATE_LIMITED = answer(429, LIMITED_BODY)


@pytest.mark.parametrize(
    "failure",
    [LOST, REFUSED, answer(500, b"Internal Server Error"), answer(502, b""), answer(503, b""), answer(408, b"")],
    ids=["lost", "refused", "500", "502", "503", "408"],
)
def test_a_read_is_repeated(failure: Outcome) -> None:
    """A read is repeated after any failure, since it changes nothing."""
    simulation = Simulation(in_turn(failure, failure, EMPTY))

    page = simulation.run(call(simulation.connection, traces.LIST))

    assert (page.total, len(simulation.sent), simulation.pauses) == (0, 3, [0.5, 1.0])


def test_a_read_is_not_repeated_for_ever() -> None:
    """A read is repeated three times with growing waits, and then raises the failure."""
    simulation = Simulation(in_turn(answer(500, b"Internal Server Error")))

    with pytest.raises(ServerError):
        simulation.run(call(simulation.connection, traces.LIST))

    assert simulation.pauses == [0.5, 1.0, 2.0]


def test_one_deadline_is_for_all_of_a_call() -> None:
    """The call's time is for all attempts and waits together."""
    simulation = Simulation(in_turn(LOST), timeout_s=4.0, retries=100, latency_s=1.5)

    with pytest.raises(ServerError):
        simulation.run(call(simulation.connection, traces.LIST))

    assert simulation.now <= 4.0
    assert [round(request.timeout_s, 2) for _, request in simulation.sent] == [4.0, 2.0]


@pytest.mark.parametrize("failure", [LOST, answer(502, b""), answer(504, b"")], ids=["lost", "502", "504"])
def test_a_run_is_never_made_twice_by_accident(failure: Outcome) -> None:
    """If a run may have been made, the request is not repeated, and the error has the request and its time."""
    simulation = Simulation(in_turn(failure))

    with pytest.raises(OutcomeUnknown, match="may or may not have been carried out") as unknown:
        simulation.run(call(simulation.connection, TRACE_RUNS.create_batch, body=RUN))

    request = unknown.value.request
    assert len(simulation.sent) == 1
    assert request is not None
    assert (request.method, request.path, request.body) == ("POST", "/evaluations/trace-runs/batch", RUN)
    assert request.sent_at == simulation.connection.now().replace(microsecond=0)


@pytest.mark.parametrize("failure", [REFUSED, answer(503, b""), RATE_LIMITED], ids=["refused", "503", "429"])
def test_a_run_that_was_surely_not_made_is_requested_again(failure: Outcome) -> None:
    """A request for a run is repeated if it surely failed: a refused connection, a 503 or a 429."""
    simulation = Simulation(in_turn(failure, answer(202, STARTED)))

    run = simulation.run(call(simulation.connection, TRACE_RUNS.create_batch, body=RUN))

    assert (str(run.id), len(simulation.sent)) == (STARTED["id"], 2)


def test_a_run_that_the_server_failed_to_make_raises() -> None:
    """A 500 says that the run was not made: the request is not repeated, and ServerError is raised."""
    simulation = Simulation(in_turn(answer(500, b"Internal Server Error")))

    with pytest.raises(ServerError) as failed:
        simulation.run(call(simulation.connection, TRACE_RUNS.create_batch, body=RUN))

    assert (len(simulation.sent), type(failed.value)) == (1, ServerError)


def test_a_run_whose_answer_cannot_be_read_may_have_been_made() -> None:
    """A run whose answer cannot be read is not requested again, and the error allows a look-up."""
    simulation = Simulation(in_turn(answer(202, b"<html>")))

    with pytest.raises(OutcomeUnknown, match="may have been carried out") as unknown:
        simulation.run(call(simulation.connection, TRACE_RUNS.create_batch, body=RUN))

    assert len(simulation.sent) == 1
    assert unknown.value.request is not None
    assert unknown.value.request.body == RUN


def test_a_deletion_whose_answer_was_lost_is_done() -> None:
    """A 404 at the second attempt means that the first attempt deleted the trace."""
    gone = answer(404, {"detail": "Trace x not found."})
    path = {"trace_id": uuid4()}
    simulation = Simulation(in_turn(LOST, gone))

    assert simulation.run(call(simulation.connection, traces.DELETE, path=path)) is None
    assert len(simulation.sent) == 2


def test_a_rate_limit_is_waited_out() -> None:
    """After a 429 the request is repeated as often as needed, each time after Retry-After."""
    told = answer(429, LIMITED_BODY, retry_after="7")
    simulation = Simulation(in_turn(RATE_LIMITED, RATE_LIMITED, told, RATE_LIMITED, RATE_LIMITED, EMPTY))

    simulation.run(call(simulation.connection, traces.LIST))

    assert simulation.pauses == [7.5, 7.5, 7.5, 7.5, 7.5]


def test_a_rate_limit_that_lasts_longer_than_the_call() -> None:
    """A rate limit that lasts longer than the call raises at once."""
    simulation = Simulation(in_turn(answer(429, LIMITED_BODY, retry_after="61")))

    with pytest.raises(RateLimited) as limited:
        simulation.run(call(simulation.connection, traces.LIST))

    assert (limited.value.retry_after, simulation.pauses) == (61.0, [])


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 409, 422, 307])
def test_a_refusal_is_not_repeated(status: int) -> None:
    """A refused request is not repeated, since it would be refused again."""
    simulation = Simulation(in_turn(answer(status, {"detail": "no"})))

    with pytest.raises(Exception, match=str(status)):
        simulation.run(call(simulation.connection, traces.LIST))

    assert len(simulation.sent) == 1


def test_a_posted_trace_has_its_ids_so_that_it_can_be_repeated() -> None:
    """A trace is posted with its ids, so that a second attempt sends the same bytes and the server merges them."""
    simulation = Simulation(in_turn(LOST, answer(202, {"trace_id": str(uuid4()), "task_id": "t"})))
    operations: Any = traces.TraceOperations(simulation.connection)
    span: SpanArguments = {"name": "s", "started_at": simulation.connection.now()}
    steps = traces.TraceOperations.create.method(
        operations, name="t", started_at=simulation.connection.now(), spans=[span]
    )

    simulation.run(steps)

    (_, first), (_, second) = simulation.sent
    assert first.body == second.body
    assert b'"span_id"' in (first.body or b"")
    assert b'"trace_id"' in (first.body or b"")
