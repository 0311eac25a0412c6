"""The client's limits: its requests stay below the server's rate limits, and wait no longer than needed."""

from __future__ import annotations

import random
import threading
import time

import pytest

from pandaprobe_otel.api import Client, RateLimits
from pandaprobe_otel.api.call_steps import call
from pandaprobe_otel.api.endpoint import Endpoint
from pandaprobe_otel.api.request_budget import Bucket, Budget, bucket_of, shared_budget
from pandaprobe_otel.api.resources import monitors, scores, traces
from pandaprobe_otel.api.resources.runs import TRACE_RUNS
from pandaprobe_otel.errors import RateLimited
from pandaprobe_otel.local import LocalServer
from pandaprobe_otel.transport.request_outcome import Answer, Request
from simulated_calls import LIMITED_BODY, Simulation, answer, in_turn

EMPTY = answer(200, {"items": [], "total": 0, "limit": 50, "offset": 0})


@pytest.mark.parametrize(
    ("endpoint", "limit"),
    [
        (traces.CREATE, 100),
        (traces.LIST, 200),
        (traces.ADD_SPANS, 200),
        (TRACE_RUNS.create, 50),
        (TRACE_RUNS.create_batch, 50),
        (TRACE_RUNS.retry, 50),
        (TRACE_RUNS.get, 200),
        (monitors.TRIGGER, 10),
        (monitors.PAUSE, 200),
        (scores.OF_TRACE, 200),
    ],
    ids=str,
)
def test_each_route_has_the_servers_limit(endpoint: Endpoint[object], limit: int) -> None:
    """Each route has the limit of server 0.5.0, as measured; the server counts by path, not by method."""
    assert bucket_of(endpoint, "/p", RateLimits()) == Bucket("/p", limit)


def test_two_minutes_of_requests_are_never_refused() -> None:
    """450 requests to one path as fast as allowed: no window of 60 s has more than 200, and the wait is minimal."""
    draw = random.Random(7)

    def serve(request: Request) -> Answer:
        simulation.latency_s = draw.uniform(0.001, 0.2)
        return EMPTY

    simulation = Simulation(serve, rate_limits=RateLimits(), timeout_s=120.0)
    for _ in range(450):
        simulation.run(call(simulation.connection, traces.LIST))

    times = [at for at, _ in simulation.sent]
    assert max(sum(at <= other < at + 60 for other in times) for at in times) == 200
    assert times[200] == pytest.approx(times[1] + 60.1, abs=0.001)
    assert times[400] < 2 * 60.1 + 0.5


def test_a_call_that_would_wait_too_long_raises_with_the_wait() -> None:
    """A request that would wait longer than the call may take is not sent, and the error gives the wait."""
    simulation = Simulation(in_turn(EMPTY), rate_limits=RateLimits(other=1), timeout_s=30.0)
    simulation.run(call(simulation.connection, traces.LIST))

    with pytest.raises(RateLimited, match="1 requests a minute are allowed") as limited:
        simulation.run(call(simulation.connection, traces.LIST))

    assert limited.value.retry_after == pytest.approx(60.1)
    assert len(simulation.sent) == 1


def test_a_refusal_holds_back_all_who_share_the_budget() -> None:
    """After a refusal, all clients of the key wait for Retry-After, since another process may use the same key."""
    simulation = Simulation(in_turn(answer(429, LIMITED_BODY, retry_after="20"), EMPTY), rate_limits=RateLimits())
    simulation.run(call(simulation.connection, traces.LIST))
    budget = next(iter(simulation.connection.budgets.values()))

    assert [at for at, _ in simulation.sent] == pytest.approx([0.0, 20.51])
    assert budget.take(Bucket("/traces", 200), 19.0) == pytest.approx(1.51)
    assert budget.take(Bucket("/traces", 200), 30.0) == 0.0


def test_a_token_comes_back_when_the_caller_is_interrupted() -> None:
    """The token of an interrupted request comes back after the window, since the server may have counted it."""
    simulation = Simulation(in_turn(EMPTY), rate_limits=RateLimits(other=1))
    steps = call(simulation.connection, traces.LIST)
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


def test_clients_of_one_key_share_a_budget() -> None:
    """Clients of one key and endpoint share a budget, which outlives them, as the server's count does."""
    assert shared_budget("http://a", "key k") is shared_budget("http://a", "key k")
    assert shared_budget("http://a", "key k") is not shared_budget("http://a", "key l")
    assert shared_budget("http://a", "key k") is not shared_budget("http://b", "key k")


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
