"""Wall clocks that jump and machines that sleep, in simulated time: the limit holds, and delivery goes on."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pandaprobe_otel.delivery.parcel import Parcel
from pandaprobe_otel.process.guard import failures
from pandaprobe_otel.transport.outcome import Outcome
from pandaprobe_rules import LIMIT
from rings import IN_FULL, UNSHRUNK
from simulated_spool import SCANS_EVERY_S, SpooledProcess
from simulated_world import Server, World, most_in_a_window, trace_request

MEMORY_DISK = "/dev/shm" if os.path.isdir("/dev/shm") else None
MINUTE, DAY = 60.0, 86_400.0
RIGHT = 1_800_000_000.0


class Machine:
    """A machine that may sleep; in a sleep, its processes and their clocks stop, and network and server continue."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.slept_s = 0.0
        self._fell_asleep: float | None = None
        self.wakes_at = 0.0

    def sleep(self, seconds: float) -> None:
        """Sleep."""
        self._fell_asleep, self.wakes_at = self.world.now, self.world.now + seconds
        self.world.run(seconds)
        self._fell_asleep, self.slept_s = None, self.slept_s + seconds

    @property
    def is_asleep(self) -> bool:
        """True during a sleep."""
        return self._fell_asleep is not None

    def monotonic(self) -> float:
        """Return the time without the sleep."""
        return (self.world.now if self._fell_asleep is None else self._fell_asleep) - self.slept_s


class SleepingProcess(SpooledProcess):
    """A process of such a machine."""

    def __init__(self, machine: Machine, server: Server, folder: Path, name: str) -> None:
        self._machine = machine
        super().__init__(machine.world, server, folder, name=name, max_bytes=32 << 20)

    def clock(self) -> float:
        """Return the time of the monotonic clock, which stands still during a sleep."""
        return self._machine.monotonic()

    def time_of(self, reading: float) -> float:
        """Return the world's time at which the clock will show this reading, unless the machine sleeps before."""
        return reading + self._machine.slept_s + 1e-9

    def boot_clock(self) -> float:
        """Return the time of the clock that runs on during a sleep."""
        return self.world.now

    def _look(self) -> None:
        if self._machine.is_asleep:
            self.world.at(self._machine.wakes_at + 1e-9, self._look)
        else:
            super()._look()

    def _done(self, parcel: Parcel, outcome: Outcome) -> None:
        if self._machine.is_asleep:
            self.world.at(self._machine.wakes_at + 1e-9, lambda: self._done(parcel, outcome))
        else:
            super()._done(parcel, outcome)


@contextmanager
def wall_clock(world: World, error: list[float]) -> Iterator[None]:
    """Let the wall clock be wrong by the last of these numbers of seconds, and never show a time before 1970."""

    def wall() -> float:
        return max(RIGHT + world.now + error[-1], 1.0)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(time, "time", wall)
        patched.setattr(time, "time_ns", lambda: int(wall() * 1e9))
        yield


UNSET = -RIGHT
"""Error of a clock that is not set when the machine starts, and shows 1970."""
ERRORS = st.sampled_from([0.0, UNSET]) | st.sampled_from([3600.0, -DAY, -7000 * DAY]) | st.floats(-6 * DAY, 6 * DAY)
EVENTS = st.one_of(
    st.tuples(st.just("traces"), st.sampled_from([1, 130])),
    st.tuples(st.just("time passes"), st.sampled_from([1.0, 30.0, 61.0, 700.0])),
    st.tuples(st.just("the clock is set"), ERRORS),
    st.tuples(st.just("the machine sleeps"), st.floats(0.1, 200.0) | st.floats(0.1, 30 * DAY)),
    st.tuples(st.just("a process dies"), st.integers(0, 2)),
)


FIRST_SET_LATER = [
    ("the clock is set", UNSET),
    *[("traces", 300)] * 4,
    ("the clock is set", 0.0),
    ("a process dies", 0),
]
"""A clock that is set late, while more traces wait than can be sent between two searches of the directory."""
AHEAD_WHILE_SATURATED = [("traces", 300), ("time passes", 1.0), ("the clock is set", 3600.0), ("time passes", 30.0)]


@pytest.mark.parametrize("examples", [3, pytest.param(500, marks=IN_FULL)])
def test_clocks_that_jump_and_sleeps_cost_nothing(examples: int) -> None:
    """Two processes share the limit and adopt each other's requests: all arrive in time, and none is refused."""

    @settings(max_examples=examples, phases=UNSHRUNK)
    @given(events=st.lists(EVENTS, min_size=8, max_size=16), seed=st.integers(0, 1000))
    @example(events=FIRST_SET_LATER, seed=0)
    @example(events=AHEAD_WHILE_SATURATED, seed=0)
    def cost_nothing(events: list[tuple[str, float]], seed: int) -> None:
        world, error, faults = World(seed), [0.0], failures()
        server, machine = Server(world), Machine(world)
        with TemporaryDirectory(dir=MEMORY_DISK) as scratch, wall_clock(world, error):
            folder = Path(scratch) / "spool"
            processes = [SleepingProcess(machine, server, folder, str(number)) for number in range(2)]
            traces = 0
            for event, much in events:
                living = [process for process in processes if process.is_alive]
                if event == "traces":
                    for _ in range(int(much)):
                        traces += 1
                        living[traces % len(living)].put(trace_request(traces))
                elif event == "time passes":
                    world.run(much)
                elif event == "the clock is set":
                    error.append(much)
                elif event == "the machine sleeps":
                    machine.sleep(much)
                else:
                    living[int(much) % len(living)].crash()
                    processes.append(SleepingProcess(machine, server, folder, str(len(processes))))
            world.run(2 * SCANS_EVERY_S + (3 + traces / LIMIT) * MINUTE)
            durable = {span_id for process in processes for span_id in process.durable}
            counts = [process.ledger.read() for process in processes]
            for process in processes:
                process.crash()

        assert failures() == faults
        assert [dict(count.dropped) for count in counts if count.dropped] == []
        assert len(durable) == traces
        assert durable <= server.span_ids()
        assert server.posts(status=429) == []
        assert most_in_a_window([post.at for post in server.posts()]) <= LIMIT

    cost_nothing()
