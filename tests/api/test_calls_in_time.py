"""Requests in simulated time: limits, retries, pages and waits, and the limits of real clients."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from urllib.parse import parse_qs
from uuid import UUID, uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from both_clients import Connect, rows_of
from pandaprobe_otel.api import Client, RateLimits
from pandaprobe_otel.api.calls import Connection, Pause, Send, Steps, SyncDriver, call
from pandaprobe_otel.api.endpoint import Endpoint, Scope
from pandaprobe_otel.api.models import EvalRun, TraceListItem
from pandaprobe_otel.api.monitors import Monitors
from pandaprobe_otel.api.operation import PageWalk
from pandaprobe_otel.api.request_budget import Bucket, Budget, bucket_of
from pandaprobe_otel.api.runs import TraceRuns, wait_for_run
from pandaprobe_otel.api.traces import Traces
from pandaprobe_otel.errors import OutcomeUnknown, RateLimited, RunFailed, ServerError, WaitTimeout
from pandaprobe_otel.local import LocalServer
from pandaprobe_otel.transport.outcome import Answer, NoAnswer, Outcome, Request
from scripted_api import ScriptedApi, served_run

T = TypeVar("T")

BEGUN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
LOST = NoAnswer(reason="ReadError", may_have_arrived=True)
REFUSED = NoAnswer(reason="ConnectError", may_have_arrived=False)
LIMITED_BODY = b'{"error":"Rate limit exceeded: 200 per 1 minute"}'


def answer(status: int = 200, body: Any = None, **headers: str) -> Answer:
    """Return an answer with a JSON body; header names have underscores here."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Answer(
        status=status, body=content, headers={name.replace("_", "-"): value for name, value in headers.items()}
    )


@dataclass
class Simulation:
    """A client's connection in simulated time (`now`); `server` answers each request."""

    server: Callable[[Request], Outcome]
    timeout_s: float = 60.0
    retries: int = 3
    rate_limits: RateLimits | None = None
    latency_s: float = 0.01
    unavailable: Mapping[Scope, str] = field(default_factory=dict[Scope, str])
    now: float = 0.0
    sent: list[tuple[float, Request]] = field(default_factory=list[tuple[float, Request]])
    pauses: list[float] = field(default_factory=list[float])

    def __post_init__(self) -> None:
        self.connection = Connection(
            base_url="http://simulated",
            unavailable=self.unavailable,
            budgets={scope: Budget() for scope in Scope},
            timeout_s=self.timeout_s,
            retries=self.retries,
            rate_limits=self.rate_limits,
            clock=lambda: self.now,
            now=lambda: BEGUN + timedelta(seconds=self.now),
            uniform=lambda low, high: high,
        )

    def run(self, steps: Steps[T]) -> T:
        """Run a generator of steps."""
        try:
            step = next(steps)
            while True:
                step = steps.send(self._perform(step))
        except StopIteration as end:
            result: T = end.value
            return result

    def _perform(self, step: Send | Pause) -> Outcome | None:
        if isinstance(step, Pause):
            self.pauses.append(step.seconds)
            self.now += step.seconds
            return None
        self.sent.append((self.now, step.request))
        outcome = self.server(step.request)
        self.now += self.latency_s
        return outcome


def in_turn(*outcomes: Outcome) -> Callable[[Request], Outcome]:
    """Return a server that gives these answers in turn, and repeats the last one."""
    left = list(outcomes)

    def serve(request: Request) -> Outcome:
        return left.pop(0) if len(left) > 1 else left[0]

    return serve


EMPTY = answer(200, {"items": [], "total": 0, "limit": 50, "offset": 0})
RATE_LIMITED = answer(429, LIMITED_BODY)
RUN = {"metrics": ["m"], "trace_ids": [str(uuid4())]}
STARTED = served_run()


def listed(simulation: Simulation) -> Any:
    """List the traces once."""
    return simulation.run(call(simulation.connection, Traces.list.endpoint))


def requested(simulation: Simulation) -> Any:
    """Request an evaluation run once."""
    return simulation.run(call(simulation.connection, TraceRuns.create_batch.endpoint, body=RUN))


@pytest.mark.parametrize(
    ("endpoint", "limit"),
    [
        (Traces.get.endpoint, 200),
        (TraceRuns.create_batch.endpoint, 50),
        (TraceRuns.retry.endpoint, 50),
        (TraceRuns.get.endpoint, 200),
        (Monitors.trigger.endpoint, 10),
    ],
    ids=str,
)
def test_each_route_has_the_servers_limit(endpoint: Endpoint[object], limit: int) -> None:
    """Each route has the limit of server 0.5.0, as measured; the server counts by path, not by method."""
    assert bucket_of(endpoint, "/p", RateLimits()) == Bucket("/p", limit)


def test_two_minutes_of_requests_are_never_refused() -> None:
    """450 requests to one path as fast as allowed: no window of 60 s has more than 200, and the wait is minimal."""
    simulation = Simulation(in_turn(EMPTY), rate_limits=RateLimits(), timeout_s=120.0)
    for number in range(450):
        simulation.latency_s = 0.001 + number % 7 * 0.03
        listed(simulation)

    times = [at for at, _ in simulation.sent]
    assert max(sum(at <= other < at + 60 for other in times) for at in times) == 200
    assert times[200] == pytest.approx(times[1] + 60.1, abs=0.001)
    assert times[400] < 2 * 60.1 + 0.5


def test_a_call_that_would_wait_too_long_raises_with_the_wait() -> None:
    """A request that would wait longer than the call may take is not sent, and the error gives the wait."""
    simulation = Simulation(in_turn(EMPTY), rate_limits=RateLimits(other=1), timeout_s=30.0)
    listed(simulation)

    with pytest.raises(RateLimited, match="1 requests a minute are allowed") as limited:
        listed(simulation)

    assert limited.value.retry_after == pytest.approx(60.1)
    assert len(simulation.sent) == 1


def test_a_refusal_holds_back_all_who_share_the_budget() -> None:
    """After a refusal, all clients of the key wait for Retry-After, since another process may use the same key."""
    simulation = Simulation(in_turn(answer(429, LIMITED_BODY, retry_after="20"), EMPTY), rate_limits=RateLimits())
    listed(simulation)
    budget = next(iter(simulation.connection.budgets.values()))

    assert [at for at, _ in simulation.sent] == pytest.approx([0.0, 20.51])
    assert budget.take(Bucket("/traces", 200), 19.0) == pytest.approx(1.51)
    assert budget.take(Bucket("/traces", 200), 30.0) == 0.0


def test_a_token_comes_back_when_the_caller_is_interrupted() -> None:
    """The token of an interrupted request comes back after the window, since the server may have counted it."""
    simulation = Simulation(in_turn(EMPTY), rate_limits=RateLimits(other=1))
    steps = call(simulation.connection, Traces.list.endpoint)
    next(steps)
    steps.close()
    budget = next(iter(simulation.connection.budgets.values()))

    assert budget.take(Bucket("/traces", 1), 1.0) == pytest.approx(59.1)
    assert budget.take(Bucket("/traces", 1), 60.2) == 0.0


def test_windows_that_are_over_are_forgotten() -> None:
    """A budget keeps a bounded number of windows, although each trace has its own path."""
    budget = Budget()
    for number in range(5000):
        bucket = Bucket(f"/traces/{number}", 200)
        budget.take(bucket, float(number))
        budget.give_back(bucket, float(number))

    assert len(budget._windows) <= 1001  # pyright: ignore[reportPrivateUsage]


def test_threads_and_clients_together_keep_to_the_limit() -> None:
    """Of 240 requests of four threads with two clients of one key, 200 are served and 40 refused by the clients."""
    with LocalServer(window_s=60.0) as server:
        clients = [Client("sk_pp_shared", "p", server.url, timeout_s=10.0) for _ in range(2)]
        served: list[int] = []
        errors: list[Exception] = []

        def ask(client: Client) -> None:
            for _ in range(60):
                try:
                    client.traces.list()
                    served.append(1)
                except RateLimited as error:
                    errors.append(error)

        begun = time.monotonic()
        threads = [threading.Thread(target=ask, args=(clients[number % 2],)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for client in clients:
            client.close()

    assert (len(served), len(errors)) == (200, 40)
    assert {error.status for error in errors if isinstance(error, RateLimited)} == {None}, "refused by the client"
    assert time.monotonic() - begun < 20


def test_limits_can_be_left_to_the_server() -> None:
    """Without limits a client sends at once, and raises the server's refusal."""
    with LocalServer() as server, Client("sk_pp_free", "p", server.url, rate_limits=None, timeout_s=5.0) as client:
        for _ in range(200):
            client.traces.list(limit=1)
        with pytest.raises(RateLimited) as limited:
            client.traces.list(limit=1)

    assert limited.value.status == 429


@pytest.mark.parametrize("failure", [LOST, REFUSED, *(answer(status, b"") for status in (408, 500, 502, 503))])
def test_a_read_is_repeated_three_times_with_growing_waits(failure: Outcome) -> None:
    """A read is repeated after any failure, since it changes nothing, and at last raises the failure."""
    simulation = Simulation(in_turn(failure, failure, EMPTY))
    assert (listed(simulation).total, len(simulation.sent), simulation.pauses) == (0, 3, [0.5, 1.0])

    simulation = Simulation(in_turn(failure))
    with pytest.raises(ServerError):
        listed(simulation)
    assert simulation.pauses == [0.5, 1.0, 2.0]


def test_one_deadline_is_for_all_of_a_call() -> None:
    """The call's time is for all attempts and waits together."""
    simulation = Simulation(in_turn(LOST), timeout_s=4.0, retries=100, latency_s=1.5)
    with pytest.raises(ServerError):
        listed(simulation)

    assert simulation.now <= 4.0
    assert [round(request.timeout_s, 2) for _, request in simulation.sent] == [4.0, 2.0]


@pytest.mark.parametrize(
    ("failure", "attempts", "error"),
    [
        (LOST, 1, OutcomeUnknown),
        (answer(502, b""), 1, OutcomeUnknown),
        (answer(504, b""), 1, OutcomeUnknown),
        (answer(202, b"<html>"), 1, OutcomeUnknown),
        (answer(500, b"Internal Server Error"), 1, ServerError),
        (REFUSED, 2, None),
        (answer(503, b""), 2, None),
        (RATE_LIMITED, 2, None),
    ],
)
def test_a_run_is_never_made_twice_by_accident(failure: Outcome, attempts: int, error: type[Exception] | None) -> None:
    """Only a request that surely failed is repeated; if the run may have been made, the error has the request."""
    simulation = Simulation(in_turn(failure, answer(202, STARTED)))
    if error is None:
        assert str(requested(simulation).id) == STARTED["id"]
    else:
        with pytest.raises(ServerError if error is ServerError else OutcomeUnknown) as raised:
            requested(simulation)
        assert type(raised.value) is error
        request = getattr(raised.value, "request", None)
        if error is OutcomeUnknown:
            assert request is not None
            assert (request.method, request.path, request.body) == ("POST", "/evaluations/trace-runs/batch", RUN)
            assert request.sent_at == BEGUN
    assert len(simulation.sent) == attempts


def test_a_deletion_whose_answer_was_lost_is_done() -> None:
    """A 404 at the second attempt means that the first attempt deleted the trace."""
    gone = answer(404, {"detail": "Trace x not found."})
    path = {"trace_id": uuid4()}
    simulation = Simulation(in_turn(LOST, gone))

    assert simulation.run(call(simulation.connection, Traces.delete.endpoint, path=path)) is None
    assert len(simulation.sent) == 2


def test_a_rate_limit_is_waited_out_unless_it_lasts_longer_than_the_call() -> None:
    """After a 429 the request is repeated as often as needed, after Retry-After; a longer limit raises at once."""
    soon, late = answer(429, LIMITED_BODY, retry_after="7"), answer(429, LIMITED_BODY, retry_after="61")
    simulation = Simulation(in_turn(RATE_LIMITED, soon, *[RATE_LIMITED] * 3, EMPTY))
    listed(simulation)
    assert simulation.pauses == [7.5] * 5

    simulation = Simulation(in_turn(late))
    with pytest.raises(RateLimited) as limited:
        listed(simulation)
    assert (limited.value.retry_after, simulation.pauses) == (61.0, [])


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 409, 422, 307])
def test_a_refusal_is_not_repeated(status: int) -> None:
    """A refused request is not repeated, since it would be refused again."""
    simulation = Simulation(in_turn(answer(status, {"detail": "no"})))
    with pytest.raises(Exception, match=str(status)):
        listed(simulation)

    assert len(simulation.sent) == 1


def test_a_posted_trace_has_its_ids_so_that_it_can_be_repeated() -> None:
    """A trace is posted with its ids, so that a second attempt sends the same bytes and the server merges them."""
    simulation = Simulation(in_turn(LOST, answer(202, {"trace_id": str(uuid4()), "task_id": "t"})))
    operations = Traces(simulation.connection, SyncDriver("http://simulated", {}))
    span: Any = {"name": "s", "started_at": simulation.connection.now()}
    steps = Traces.create.method(operations, name="t", started_at=simulation.connection.now(), spans=[span])

    simulation.run(steps)

    (_, first), (_, second) = simulation.sent
    assert first.body == second.body
    assert b'"span_id"' in (first.body or b"")
    assert b'"trace_id"' in (first.body or b"")


def row(number: int) -> dict[str, Any]:
    """Return a trace of a list, whose id is its number."""
    return {
        "trace_id": str(UUID(int=number)),
        "name": f"trace {number}",
        "status": "COMPLETED",
        "started_at": "2026-01-02T03:04:05+00:00",
    }


class ChangingList:
    """A list, newest first, that changes between requests."""

    def __init__(self, numbers: list[int], change: Callable[[list[int], int], None]) -> None:
        self.numbers = numbers
        self._change = change
        self.requests = 0

    def serve(self, request: Request) -> Answer:
        """Serve one page of the list as it is now."""
        query = parse_qs(request.path.partition("?")[2])
        limit, offset = int(query["limit"][0]), int(query["offset"][0])
        if self.requests:
            self._change(self.numbers, self.requests)
        self.requests += 1
        page = [row(number) for number in self.numbers[offset : offset + limit]]
        return answer(200, {"items": page, "total": len(self.numbers), "limit": limit, "offset": offset})


def walk(rows: ChangingList, *, page_size: int) -> list[int]:
    """Return the numbers of all rows of an iteration, in order."""
    simulation = Simulation(rows.serve)
    found: PageWalk[TraceListItem] = PageWalk(
        simulation.connection, Traces.list.endpoint, query={}, page_size=page_size
    )
    numbers: list[int] = []
    while new := simulation.run(found.next_rows()):
        numbers += [trace.trace_id.int for trace in new]
    return numbers


def test_rows_are_deleted_as_they_are_read() -> None:
    """A loop that deletes each row it reads misses no row."""

    def delete_read_rows(numbers: list[int], request: int) -> None:
        if request % 2:
            del numbers[:3]

    assert sorted(walk(ChangingList(list(range(12, 0, -1)), delete_read_rows), page_size=3)) == list(range(1, 13))


@settings(deadline=None, max_examples=60)
@given(
    size=st.integers(0, 30),
    page_size=st.integers(1, 7),
    arriving=st.lists(st.integers(0, 5), max_size=40),
)
def test_whatever_arrives_each_row_comes_once(size: int, page_size: int, arriving: list[int]) -> None:
    """Each row comes once, for any number of new rows before each request."""
    fresh = iter(range(1000, 100_000))

    def arrive(numbers: list[int], request: int) -> None:
        count = arriving[request - 1] if request <= len(arriving) else 0
        numbers[:0] = [next(fresh) for _ in range(count)]

    there = list(range(size, 0, -1))
    rows = ChangingList([*there], arrive)
    found = walk(rows, page_size=page_size)

    assert [number for number in found if number < 1000] == there
    assert any(arriving) or rows.requests == (-(-size // page_size) or 1)
    assert len(found) == len(set(found))


async def test_pages_are_requested_when_they_are_needed(connect: Connect) -> None:
    """No request is sent before the first row is read, nor for a page beyond the last row read."""
    pages = [[row(number) for number in range(first, first + 2)] for first in (1, 3, 5)]
    with ScriptedApi() as api:
        api.serve("GET /traces", *[{"items": page, "total": 6, "limit": 2, "offset": 0} for page in pages])
        rows = connect(api.url).traces.iter(page_size=2, session_id="s")
        before = len(api.received)
        taken = await rows_of(rows, at_most=3)
        queries = [one.query for one in api.received]
        if hasattr(rows, "aclose"):
            await rows.aclose()

    assert (before, len(taken)) == (0, 3)
    assert queries == ["session_id=s&limit=2&offset=0", "session_id=s&limit=2&offset=2"]


def test_the_memory_of_a_walk_is_bounded() -> None:
    """An iteration keeps a bounded number of ids, by which it recognises repeated rows."""
    size = 30_000
    simulation = Simulation(ChangingList(list(range(size, 0, -1)), lambda numbers, request: None).serve)
    found: PageWalk[TraceListItem] = PageWalk(simulation.connection, Traces.list.endpoint, query={}, page_size=200)
    count = 0
    while new := simulation.run(found.next_rows()):
        count += len(new)

    assert count == size
    assert len(found._seen) <= 10_000  # pyright: ignore[reportPrivateUsage]


def waited(states: Mapping[float, str], *, timeout_s: float = 300.0) -> tuple[EvalRun, Simulation]:
    """Wait for a run whose status changes at these times, and return it."""

    def serve(request: Request) -> Answer:
        state = [status for since, status in states.items() if since <= simulation.now][-1]
        return answer(200, {**STARTED, "status": state, "error_message": "boom" if state == "FAILED" else None})

    simulation = Simulation(serve)
    steps = wait_for_run(simulation.connection, STARTED["id"], timeout_s, progress=lambda run: None)
    return simulation.run(steps), simulation


def test_polling_stays_far_below_the_limit() -> None:
    """Polling is fast at first, then every two seconds: at most 40 requests a minute of the 200 allowed."""
    run, simulation = waited({0: "PENDING", 5: "RUNNING", 120: "COMPLETED"})

    times = [at for at, _ in simulation.sent]
    assert run.status == "COMPLETED"
    assert times[1] < 0.5
    assert max(sum(at <= other < at + 60 for other in times) for at in times) <= 40
    assert 120 <= times[-1] < 122.5


@pytest.mark.parametrize(
    ("states", "timeout_s", "error", "words"),
    [
        ({0: "RUNNING"}, 10.0, WaitTimeout, "is RUNNING after 10 s, with 0 of 1 targets"),
        ({0: "RUNNING"}, 0.0, TimeoutError, "RUNNING"),
        ({0: "RUNNING", 3: "FAILED"}, 300.0, RunFailed, "boom"),
    ],
)
def test_a_run_that_does_not_complete(
    states: Mapping[float, str], timeout_s: float, error: type[Exception], words: str
) -> None:
    """A wait that is too short raises a TimeoutError with the run's progress; a FAILED run raises its reason."""
    with pytest.raises(error, match=words):
        waited(states, timeout_s=timeout_s)


def test_a_crashed_run_may_come_back() -> None:
    """A FAILED run is still polled, since the server retries it by itself within 20 s (measured on 0.5.0)."""
    run, simulation = waited({0: "RUNNING", 3: "FAILED", 13: "RUNNING", 20: "COMPLETED"})

    assert run.status == "COMPLETED"
    assert simulation.now >= 20
