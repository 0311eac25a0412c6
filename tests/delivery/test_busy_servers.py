"""A long trace behind a server that is busy: it ends with its final status, and with the spans that have room."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from opentelemetry.sdk.trace import Span
from opentelemetry.trace import StatusCode

from pandaprobe_otel.assembly.assembler import Timing
from pandaprobe_otel.transport.outcome import Answer, Outcome, Request
from rings import IN_FULL, UNSHRUNK
from simulated_app import SimulatedApp, stored_id, trace_id_of
from simulated_world import Fate, Process, Server, World

STEPS_A_SEGMENT = 20
MUCH, LITTLE = 32 << 20, 40_000
HOUR = 3600.0
BEGINNING_IS_LOST = ("overload", "trace_lost")
"""Reasons for dropping later spans if the trace's beginning had no room and was not, or only perhaps, sent before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BusyTime:
    """A time in which every request gets this status from the server, or this fate in the network."""

    after_s: float
    lasts_s: float
    cause: int | Fate


busy_times = st.lists(
    st.builds(
        BusyTime,
        after_s=st.floats(0.0, 200.0),
        lasts_s=st.floats(0.1, 60.0) | st.floats(0.1, HOUR),
        cause=st.sampled_from([429, 500, 502, 503, 504, *(fate for fate in Fate if fate is not Fate.PASSES)]),
    ),
    max_size=3,
)


def let_be_busy(world: World, server: Server, process: Process, times: list[BusyTime]) -> None:
    """Let the server be busy at these times, one after the other."""
    causes: list[tuple[float, float, int | Fate]] = []
    begins = world.now
    for time in times:
        begins += time.after_s
        causes.append((begins, begins + time.lasts_s, time.cause))
        begins += time.lasts_s

    def cause_at(now: float) -> int | Fate:
        return next((cause for start, end, cause in causes if start <= now < end), Fate.PASSES)

    def busy(request: Request, now: float) -> Outcome | None:
        cause = cause_at(now)
        return None if isinstance(cause, Fate) else Answer(status=cause, body=b'{"error":"busy"}')

    def fate(request: Request, now: float) -> Fate:
        cause = cause_at(now)
        return cause if isinstance(cause, Fate) else Fate.PASSES

    server.script, process.fate = busy, fate


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A trace, the room for it in memory, and the server."""

    steps: int
    step_s: float
    late: int = 0
    """Spans that end after the root."""
    is_error: bool = False
    times: list[BusyTime]
    lag_s: float
    room: int
    seed: int = 0


cases = st.builds(
    Case,
    steps=st.integers(0, 5 * STEPS_A_SEGMENT) | st.integers(0, 30 * STEPS_A_SEGMENT),
    step_s=st.sampled_from([0.0, 0.01, 0.5, 7.0]),
    late=st.integers(0, 3),
    is_error=st.booleans(),
    times=busy_times,
    lag_s=st.floats(0.0, 60.0),
    room=st.sampled_from([MUCH, LITTLE]),
    seed=st.integers(0, 1000),
)
NO_ROOM_WHILE_IN_DOUBT = Case(
    steps=128,
    step_s=7.0,
    times=[
        BusyTime(after_s=70.0, lasts_s=360.0, cause=Fate.RESET_AFTER),
        BusyTime(after_s=1.0, lasts_s=2700.0, cause=503),
    ],
    lag_s=30.0,
    room=LITTLE,
)
"""The trace was posted without an answer, and evicted before it could be looked up."""
LOST_LONG_BEFORE_ITS_END = Case(
    steps=198, step_s=7.0, late=2, times=[BusyTime(after_s=135.0, lasts_s=888.0, cause=500)], lag_s=2.0, room=LITTLE
)
"""Many requests wait for a trace that is missing; together they wait no longer than one request alone."""


@pytest.mark.parametrize("examples", [30, pytest.param(2000, marks=IN_FULL)])
def test_a_trace_of_any_length_ends_with_its_status_behind_a_server_that_is_busy_for_any_time(examples: int) -> None:
    """With enough memory all its spans are there; without, those that are missing are counted."""

    @settings(max_examples=examples, phases=UNSHRUNK)
    @given(case=cases)
    @example(case=NO_ROOM_WHILE_IN_DOUBT)
    @example(case=LOST_LONG_BEFORE_ITS_END)
    def ends(case: Case) -> None:
        world = World(case.seed)
        server = Server(world, persist_lag_s=case.lag_s)
        process = Process(world, server, max_bytes=case.room)
        let_be_busy(world, server, process, case.times)
        root, *others = trace(world, process, case)
        world.run(sum(time.after_s + time.lasts_s for time in case.times))
        world.run(HOUR)

        dropped = process.ledger.read().dropped
        ended, stored = {stored_id(span) for span in (root, *others)}, server.span_ids()
        assert process.is_balanced
        assert process.ledger.read().pending == 0
        assert stored <= ended
        assert len(ended - stored) <= sum(dropped.values())
        assert set(dropped) <= ({"queue_full", *BEGINNING_IS_LOST} if case.room == LITTLE else set())
        assert server.traces or case.room == LITTLE
        assert {key: stored.fields["status"] for key, stored in server.traces.items()} == (
            {trace_id_of(root): "ERROR" if case.is_error else "COMPLETED"} if server.traces else {}
        )

    ends()


def trace(world: World, process: Process, case: Case) -> list[Span]:
    """Make the trace; return its spans, the root first."""
    app = SimulatedApp(process, timing=Timing(checkpoint_spans=STEPS_A_SEGMENT), longest_poll_s=2.0)
    spans = [root := app.start("agent")]
    for _ in range(case.steps):
        spans.append(app.start("step", root))
        world.run(case.step_s)
        app.end(spans[-1])
    late = [app.start("late", root) for _ in range(case.late)]
    if case.is_error:
        root.set_status(StatusCode.ERROR)
    app.end(root)
    for span in late:
        world.run(3.0)
        app.end(span)
    return spans + late
