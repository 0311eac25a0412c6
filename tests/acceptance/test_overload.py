"""More traces than the limit allows: errors go first, every name is seen, counts can be scaled back. Simulated."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import orjson
import pytest

from simulated_world import Process, Server, World, trace_request

MINUTE = 60.0
NAMES = 300
ERROR_SHARE = 0.02
RATE = "pandaprobe_otel.sample_rate"


@dataclass(frozen=True, slots=True, kw_only=True)
class Offered:
    """A trace that the app makes."""

    at: float
    name: str
    is_error: bool


class Overload:
    """A process that makes a multiple of the key's limit, with 300 names distributed by Zipf's law.

    Its memory holds about 3000 of its small traces, as the default bound holds 3000 traces of 10 kB.
    """

    def __init__(self, times: int, minutes: float) -> None:
        self.world = World(times)
        self.server = Server(self.world)
        self.process = Process(self.world, self.server, max_bytes=4 << 20, look_every_s=0.2)
        self.offered: dict[str, Offered] = {}
        self._numbers = itertools.count()
        self._weights = list(itertools.accumulate(1 / rank for rank in range(1, NAMES + 1)))
        self.minutes = minutes
        self.world.every(MINUTE / (100 * times), self._offer, until=minutes * MINUTE)
        self.world.run(minutes * MINUTE)
        self.was_balanced = self.process.is_balanced
        self.world.run(40 * MINUTE)  # waiting traces are sent

    def _offer(self) -> None:
        random = self.world.random
        name = f"endpoint {random.choices(range(NAMES), cum_weights=self._weights)[0]}"
        is_error = random.random() < ERROR_SHARE
        request = trace_request(next(self._numbers), name=name, is_error=is_error, size=1000)
        self.offered[request.trace_id] = Offered(at=self.world.now, name=name, is_error=is_error)
        self.process.put(request)

    def delivered(self) -> dict[str, float]:
        """Return the time at which each trace was accepted, by its id."""
        return {orjson.loads(post.body or b"")["trace_id"]: post.at for post in self.server.posts(status=202)}

    def waits_of_errors(self) -> list[float]:
        """Return the seconds from the start of each delivered error to its acceptance, ascending."""
        delivered = self.delivered()
        errors = {key: each.at for key, each in self.offered.items() if each.is_error and key in delivered}
        return sorted(delivered[key] - at for key, at in errors.items())


@pytest.fixture(scope="module")
def run(request: pytest.FixtureRequest) -> Overload:
    """A finished run of so many times the limit, and so many minutes. Each keeps 40 MB until its tests have ended."""
    return Overload(*request.param)


def runs(*chosen: tuple[int, int]) -> pytest.MarkDecorator:
    """Run a test with each of these runs."""
    return pytest.mark.parametrize("run", chosen, indirect=True, scope="module")


@runs((2, 30), (10, 30), (100, 10))
def test_names_are_seen_and_counts_can_be_scaled_back(run: Overload) -> None:
    """In ten minutes 95 % of 300 names are delivered; 1 / sample rate adds up to the number of traces, within 5 %."""
    made = {each.name for each in run.offered.values() if each.at < 10 * MINUTE}
    seen = {run.offered[key].name for key, at in run.delivered().items() if at < 10 * MINUTE}

    assert len(seen) / len(made) >= 0.95
    assert run.server.posts(status=429) == []
    assert run.was_balanced
    assert run.process.ledger.read().pending == 0
    rates = [trace.fields.get("metadata", {}).get(RATE, 1.0) for trace in run.server.traces.values()]
    assert sum(1 / rate for rate in rates) == pytest.approx(len(run.offered), rel=0.05)


@runs((2, 30), (10, 30))
def test_errors_arrive_all_and_at_once(run: Overload) -> None:
    """Below 80 errors a minute, 99 % of the errors arrive, with a p95 of two seconds."""
    waits = run.waits_of_errors()
    errors = sum(each.is_error for each in run.offered.values())

    assert len(waits) / errors >= 0.99
    assert waits[int(len(waits) * 0.95)] <= 2


@runs((100, 10))
def test_errors_beyond_the_limit_leave_a_fifth_to_the_others(run: Overload) -> None:
    """At 200 errors a minute, errors get four fifths of the limit, and names without errors are still delivered."""
    late = [run.offered[key].is_error for key, at in run.delivered().items() if 5 * MINUTE < at < 10 * MINUTE]
    share = sum(late) / len(late)

    assert 0.7 <= share <= 0.85
