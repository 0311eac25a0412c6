"""Requests that dead processes have left, sent by processes that trace nothing themselves."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pandaprobe_otel.config.resolve import Config
from pandaprobe_otel.delivery.outbox import Outbox
from pandaprobe_otel.pipeline.export_pipeline import ExportPipeline
from pandaprobe_otel.transport.outcome import Answer, Outcome, Request
from rings import UNSHRUNK
from simulated_app import SimulatedApp
from simulated_spool import SpooledProcess
from simulated_world import Fate, Server, World
from spools import DESTINATION, FunctionTransport
from waiting import wait_until

MEMORY_DISK = "/dev/shm" if os.path.isdir("/dev/shm") else None
EVENTS = ("starts", "traces", "begins a trace", "waits", "ends", "is killed")
SETTINGS = {"endpoint": DESTINATION.endpoint, "project_name": DESTINATION.project, "api_key": DESTINATION.api_key}


class Past:
    """Processes that could reach no server, and what they have left."""

    def __init__(self, folder: Path) -> None:
        self._world = World()
        self._folder = folder
        self._processes: list[SpooledProcess] = []
        self._apps: list[SimulatedApp] = []
        self.happens("starts", 0)

    @property
    def durable(self) -> set[str]:
        """Ids of the spans that are on disk."""
        return {span_id for process in self._processes for span_id in process.durable}

    def happens(self, event: str, which: int) -> None:
        """Let something happen to one of the living processes, if there is any."""
        living = [app for app in self._apps if app.process.is_alive]
        if event == "starts":
            process = SpooledProcess(self._world, Server(self._world), self._folder, name=str(len(self._processes)))
            process.fate = lambda request, now: Fate.REFUSED
            self._processes.append(process)
            self._apps.append(SimulatedApp(process))
        elif event == "waits":
            self._world.run((0.2, 1.0, 40.0, 400.0)[which % 4])
        elif living:
            self._happens_to(living[which % len(living)], event)

    def is_over(self, order: Sequence[int]) -> None:
        """Kill all that still live."""
        for which in (*order, *range(len(self._processes))):
            self.happens("is killed", which)

    def _happens_to(self, app: SimulatedApp, event: str) -> None:
        if event in ("ends", "is killed"):
            if event == "ends":
                app.close()
                app.process.outbox.leave()
            app.process.crash()
            return
        root = app.start("agent")
        for _ in range(2):
            app.end(app.start("step", root))
        if event == "traces":
            app.end(root)


@settings(max_examples=8, phases=UNSHRUNK)
@given(
    events=st.lists(st.tuples(st.sampled_from(EVENTS), st.integers(0, 20)), max_size=25),
    order=st.lists(st.integers(0, 20), max_size=4),
    heirs=st.integers(1, 3),
)
def test_heirs_that_trace_nothing_send_what_any_dead_processes_have_left(
    events: list[tuple[str, int]], order: list[int], heirs: int
) -> None:
    """Processes start, adopt, trace and die in any order; new ones, which only have the setting, then send the rest."""
    got: set[str] = set()
    left: list[str] = []

    def accept(request: Request) -> Outcome:
        if request.body is None:
            return Answer(status=404, body=b'{"detail":"Trace not found."}')
        body = orjson.loads(request.body)
        got.update(span["span_id"] for span in (body if isinstance(body, list) else body.get("spans", ())))
        return Answer(status=202)

    with TemporaryDirectory(dir=MEMORY_DISK) as scratch, pytest.MonkeyPatch.context() as patched:
        folder = Path(scratch) / "spool"
        past = Past(folder)
        for event, which in events:
            past.happens(event, which)
        past.is_over(order)
        patched.setitem(Outbox.__init__.__kwdefaults__ or {}, "look_after_s", 0.05)
        config = Config.resolve({**SETTINGS, "spool": str(folder)}, environ={})
        pipelines = [
            ExportPipeline(config, counts_starts=True, transport=FunctionTransport(accept)) for _ in range(heirs)
        ]
        wait_until(lambda: past.durable <= got, what="everything that was left is sent")
        for pipeline in pipelines:
            pipeline.shutdown(10.0)
        left += (path.name for path in folder.glob("*.sqlite"))

    assert left == []
