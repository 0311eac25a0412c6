"""A model of clock, network, server, disk and processes, which Hypothesis drives through events in any order.

The real assembler, drafts and encoder start, end and seal spans into requests. Rules also put whole requests, to reach
states that spans alone would take long to reach. Processes send, get an answer or none, crash, fork, and adopt the
requests that others left on disk.

`PANDAPROBE_MODEL_CASES=10000 pytest tests/acceptance/test_model.py --timeout=3600` runs ten thousand cases.
"""

from __future__ import annotations

import itertools
import os
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from opentelemetry.sdk.trace import Span

from pandaprobe_otel.transport.outcome import Request
from pandaprobe_rules import QUOTA_BODY
from simulated_app import SimulatedApp, stored_id
from simulated_spool import Machine, SpooledProcess
from simulated_world import Fate, Kind, Process, Response, Server, World, most_in_a_window, trace_request
from spans import SpanMaker

CASES = int(os.environ.get("PANDAPROBE_MODEL_CASES", "75"))
LIMIT = 100
LONGER_THAN_ANY_GATE_S = 24 * 3600.0
LONGEST_POLL_S = 20.0
DAY_S, RIGHT, UNSET = 86_400.0, 1_800_000_000.0, -1_800_000_000.0
"""The time of a wall clock that is right, and the error of one that is not set and shows 1970."""
MOODS = (200, 401, 402, 429, 500, 502, 503)
"""Status of the server for every request; with 200 the server answers normally."""
MEMORY_DISK = "/dev/shm" if os.path.isdir("/dev/shm") else None


@dataclass(eq=False)
class Life:
    """A process from its start to its crash, with its traces and spans."""

    process: Process
    app: SimulatedApp
    traces: list[int] = field(default_factory=list[int])
    spans: set[str] = field(default_factory=set[str])
    """Ids of the spans that ended in this process."""
    open: list[Span] = field(default_factory=list[Span])
    known: list[Span] = field(default_factory=list[Span])
    """The newest spans of this process, and its parent's open spans at the fork; new spans start below them."""
    alive: bool = True

    def end(self, span: Span) -> None:
        """End an open span of this process."""
        self.open.remove(span)
        self.app.end(span)
        self.spans.add(stored_id(span))

    @property
    def repeated(self) -> int:
        """The number of roots that were sent while open and again after their end."""
        return self.process.ledger.read().ended - len(self.spans)


class DeliveryModel(RuleBasedStateMachine):
    """Puts, delays, faults, crashes and forks in any order; then every fault ends, and every span is accounted for."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.server = Server(self.world)
        self.server.script = self._mood_of_the_server
        self.mood = 200
        self.fates: list[Fate] = [Fate.PASSES]
        self.failed_at_all = False
        self.numbers = itertools.count(1)
        self.batches = itertools.count(1)
        self.lives: list[Life] = []
        self.maker = SpanMaker()
        self.start()

    # -- events -------------------------------------------------------------------------------------------------------

    def start(self, parent: Life | None = None) -> None:
        """Start a process without traces; a process forked from `parent` has its parent's open spans."""
        is_forked = parent is not None
        process = self.make_process(f"process {len(self.lives)}")
        turns = itertools.count()
        process.fate = lambda request, now: self.fates[next(turns) % len(self.fates)]
        app = SimulatedApp(process, maker=self.maker, is_forked=is_forked, longest_poll_s=LONGEST_POLL_S)
        self.lives.append(Life(process, app, known=[] if parent is None else list(parent.open)))

    def make_process(self, name: str) -> Process:
        """Make a process without a spool."""
        return Process(self.world, self.server, name=name)

    @rule(which=st.integers(0), below=st.none() | st.integers(0, 5))
    def a_span_starts(self, which: int, below: int | None) -> None:
        """Start a root, or a span below one that is open, has ended, or is open in the parent process."""
        life = self.living(which)
        parent = life.known[below % len(life.known)] if below is not None and life.known else None
        span = life.app.start("span", parent)
        life.open.append(span)
        life.known = [*life.known[-5:], span]

    @rule(which=st.integers(0))
    def an_agent_is_at_work(self, which: int) -> None:
        """Open a root, and end one span below it."""
        life = self.living(which)
        root = life.app.start("agent")
        step = life.app.start("step", root)
        life.open += [root, step]
        life.known = [*life.known[-4:], root, step]
        life.end(step)

    @rule(which=st.integers(0), index=st.integers(0, 5))
    def a_span_ends(self, which: int, index: int) -> None:
        """End spans in any order; a root may end before its children."""
        life = self.living(which)
        if life.open:
            life.end(life.open[index % len(life.open)])

    @rule(count=st.sampled_from((1, 1, 3, 120)), spans=st.integers(1, 3), is_error=st.booleans(), which=st.integers(0))
    def traces_end(self, count: int, spans: int, is_error: bool, which: int) -> None:
        """Put complete traces into some process."""
        life = self.living(which)
        for _ in range(count):
            number = next(self.numbers)
            life.traces.append(number)
            self.put(life, number, step="create", spans=spans, is_error=is_error)

    @rule(spans=st.sampled_from((1, 700)), which=st.integers(0))
    def spans_end_late(self, spans: int, which: int) -> None:
        """End spans of a trace that was already sent."""
        life = self.living(which)
        if life.traces:
            self.put(life, life.traces[which % len(life.traces)], step="append", spans=spans)

    @rule(which=st.integers(0), number=st.integers(0, 3))
    def spans_of_a_foreign_trace_end(self, which: int, number: int) -> None:
        """End spans whose root is in a process that never reports."""
        self.put(self.living(which), 900_000 + number, step="append", spans=1, is_remote=True)

    @rule(seconds=st.sampled_from((0.05, 0.7, 5.0, 31.0, 61.0, 400.0, 4000.0)))
    def time_passes(self, seconds: float) -> None:
        """Let time pass; requests go out and are answered."""
        self.world.run(seconds)

    @rule(mood=st.sampled_from(MOODS))
    def the_server_changes(self, mood: int) -> None:
        """Let the server refuse, fail, or recover."""
        self.mood = mood

    @rule(fates=st.lists(st.sampled_from(list(Fate)), min_size=1, max_size=4))
    def the_network_changes(self, fates: list[Fate]) -> None:
        """Set the fates of the next requests."""
        self.fates = fates

    @rule(hits=st.integers(1, 100))
    def another_client_uses_the_key(self, hits: int) -> None:
        """Let another client use a part of the limit."""
        for _ in range(hits):
            body = b'{"trace_id":"other","spans":[]}'
            self.server.handle(Request(method="POST", path="/traces", body=body), "other")

    @rule(which=st.integers(0))
    def a_process_crashes(self, which: int) -> None:
        """Crash a process, which loses its memory, and start another."""
        life = self.living(which)
        life.process.crash()
        life.alive = False
        self.start()

    @precondition(lambda self: len(self.living_ones()) < 3)
    @rule(which=st.integers(0))
    def a_process_forks(self, which: int) -> None:
        """Fork a process: the child starts with no requests, and the parent keeps its requests and open spans."""
        self.start(self.living(which))

    # -- invariants ---------------------------------------------------------------------------------------------------

    @invariant()
    def every_span_is_accounted_for(self) -> None:
        """Every ended span is delivered, dropped or pending, and every pending span is in the outbox."""
        assert all(life.process.is_balanced for life in self.living_ones())

    def teardown(self) -> None:
        """End all faults, run longer than any wait, and check the totals."""
        self.all_is_well_for_long()
        stored = self.server.span_ids()
        for life in self.lives:
            counts = life.process.ledger.read()
            assert most_in_a_window([post.at for post in self.server.posts(life.process.name)]) <= LIMIT
            if not life.alive:
                continue
            assert counts.pending == 0
            assert counts.delivered == counts.ended - sum(counts.dropped.values())
            assert len(life.spans & stored) >= counts.delivered - life.repeated
            if not self.failed_at_all:
                assert (life.spans - stored, counts.dropped) == (set(), {})
        if all(life.alive for life in self.lives):
            assert "RUNNING" not in {trace.fields.get("status") for trace in self.server.traces.values()}
        self._billed_once()

    def _billed_once(self) -> None:
        """Check one accepted POST /traces for each trace and process, and at most one more for each unknown outcome."""
        doubtful = Counter((life.process.name, key) for life in self.lives for key in life.process.doubtful)
        for key, trace in self.server.traces.items():
            for who, times in Counter(trace.created_by).items():
                assert who == "other" or times <= 1 + doubtful[who, key]

    def all_is_well_for_long(self) -> None:
        """End every span and all faults, and run longer than any wait."""
        for life in self.living_ones():
            for span in list(life.open):
                life.end(span)
        self.mood, self.fates = 200, [Fate.PASSES]
        self.world.run(LONGER_THAN_ANY_GATE_S)

    # -- helpers ------------------------------------------------------------------------------------------------------

    def living_ones(self) -> list[Life]:
        """Return the processes that have not crashed."""
        return [life for life in self.lives if life.alive]

    def living(self, which: int) -> Life:
        """Return one of the processes that have not crashed."""
        living = self.living_ones()
        return living[which % len(living)]

    def put(
        self, life: Life, number: int, *, step: Kind, spans: int, is_error: bool = False, is_remote: bool = False
    ) -> None:
        """Put new spans as one request."""
        batch = next(self.batches)
        request = trace_request(number, step=step, spans=spans, is_error=is_error, is_remote=is_remote, batch=batch)
        life.spans.update(f"{request.trace_id}/{batch}/{index}" for index in range(spans))
        life.process.put(request)

    def _mood_of_the_server(self, request: Request, now: float) -> Response | None:
        if self.mood == 200:
            return None
        self.failed_at_all = self.failed_at_all or self.mood >= 500
        if self.mood == 402:
            return (429, QUOTA_BODY) if request.path == "/traces" else None
        return self.server.rate_limited() if self.mood == 429 else self.mood


class SpooledDeliveryModel(DeliveryModel):
    """The model with a spool: other processes send a crashed process's requests, and all share the limit.

    The wall clock jumps, and the machine sleeps.
    """

    def __init__(self) -> None:
        self.folder = TemporaryDirectory(dir=MEMORY_DISK)
        self.processes: list[SpooledProcess] = []
        self.clock_error = 0.0
        super().__init__()

        def wall() -> float:
            return max(RIGHT + self.world.now + self.clock_error, 1.0)

        self.patched = pytest.MonkeyPatch()
        self.patched.setattr(time, "time", wall)
        self.patched.setattr(time, "time_ns", lambda: int(wall() * 1e9))

    def make_process(self, name: str) -> Process:
        """Make a process with a spool in the shared directory."""
        if not self.processes:
            self.machine = Machine(self.world)
        process = SpooledProcess(self.machine, self.server, Path(self.folder.name) / "spool", name=name)
        self.processes.append(process)
        return process

    @rule(error=st.sampled_from((0.0, UNSET, 3600.0, -DAY_S, -7000 * DAY_S)) | st.floats(-6 * DAY_S, 6 * DAY_S))
    def the_clock_is_set(self, error: float) -> None:
        """Let the wall clock be wrong by this many seconds."""
        self.clock_error = error

    @rule(seconds=st.floats(0.1, 200.0) | st.floats(0.1, 30 * DAY_S))
    def the_machine_sleeps(self, seconds: float) -> None:
        """Stop all processes and their clocks for a while."""
        self.machine.sleep(seconds)

    @rule(which=st.integers(0))
    def a_process_ends(self, which: int) -> None:
        """End a process, which leaves everything on disk, and start another, which may trace nothing."""
        life = self.living(which)
        life.app.close()
        life.process.outbox.leave()
        self.a_process_crashes(which)

    @rule(which=st.integers(0))
    def the_disk_fails_for_a_moment(self, which: int) -> None:
        """Fail one write: until the next write the process has only its small memory."""
        self.failed_at_all = True
        self.processes[self.lives.index(self.living(which))].fail_to_write_once()

    @precondition(lambda self: len(self.living_ones()) < 3)
    @rule(which=st.integers(0))
    def a_process_forks_with_a_spool(self, which: int) -> None:
        """Fork a process with a spool; the child inherits neither its connections nor its locks."""
        life = self.living(which)
        self.processes[self.lives.index(life)].fork()
        self.start(life)

    def teardown(self) -> None:
        """End all faults, and run until a process has had time to adopt the requests of every crashed one."""
        try:
            self._after_all()
        finally:
            for life in self.living_ones():
                life.process.crash()
            self.patched.undo()
            self.folder.cleanup()

    def _after_all(self) -> None:
        self.all_is_well_for_long()
        stored = self.server.span_ids()
        counts = [life.process.ledger.read() for life in self.lives]
        durable = {span for process in self.processes for span in process.durable}
        ours = [post.at for post in self.server.posts() if post.who != "other"]

        assert all(count.pending == 0 for count, life in zip(counts, self.lives, strict=True) if life.alive)
        assert most_in_a_window(ours) <= LIMIT
        assert len(durable - stored) <= sum(sum(count.dropped.values()) for count in counts)
        if not self.failed_at_all:
            assert durable <= stored
        self._billed_once()


# A case with files takes a hundred times as long.
for model, cases, steps in ((DeliveryModel, CASES, 25), (SpooledDeliveryModel, max(CASES // 3, 1), 14)):
    model.TestCase.settings = settings(
        max_examples=cases,
        stateful_step_count=steps,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
TestDeliveryInAnyOrder = DeliveryModel.TestCase
TestDeliveryWithASpoolInAnyOrder = SpooledDeliveryModel.TestCase
