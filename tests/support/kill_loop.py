"""A check that no span is lost when workers are killed at random moments, with a strict server that fails at times.

The window of the limiter is scaled down, so that a run of seconds covers many windows.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pandaprobe_otel.delivery.budget import MARGIN_S
from strict_pandaprobe import Reply, StrictPandaProbe
from subprocesses import environment
from waiting import PATIENCE_S, wait_until

WINDOW_S = 2
LIMIT = 100


def pipeline_code(*, capacity: int, window_s: float, margin_s: float, request_timeout_s: float) -> str:
    """Return the code that makes `pipeline`, `provider` and `tracer` with a spool and this shared budget."""
    return f"""
import os, sys, time
from pathlib import Path
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from pandaprobe_otel import PandaProbeSpanProcessor
from pandaprobe_otel.config.resolve import Config
from pandaprobe_otel.delivery.budget import LeasedBucket
from pandaprobe_otel.delivery.spool.lease_file import FileTokens
from pandaprobe_otel.mapping.ids import span_uuid
from pandaprobe_otel.pipeline.export_pipeline import ExportPipeline
config = Config.resolve()
times = {{"window_s": {window_s}, "margin_s": {margin_s}}}
def bucket():
    tokens = FileTokens(Path(config.spool) / "leases", request_timeout_s={request_timeout_s}, **times)
    return LeasedBucket(capacity={capacity}, tokens=tokens, **times)
pipeline = ExportPipeline(config, counts_starts=True, bucket=bucket)
provider = TracerProvider(shutdown_on_exit=False)
provider.add_span_processor(PandaProbeSpanProcessor(pipeline=pipeline))
tracer = provider.get_tracer("scaled")
"""


_PIPELINE = pipeline_code(capacity=LIMIT, window_s=WINDOW_S, margin_s=MARGIN_S, request_timeout_s=1.0)
WORKER = (
    _PIPELINE
    + """
pause, text = float(sys.argv[1]), "y" * 3000
while True:
    with tracer.start_as_current_span("agent", attributes={"gen_ai.operation.name": "invoke_agent"}) as root:
        with tracer.start_as_current_span("chat", attributes={"gen_ai.operation.name": "chat", "x": text}) as chat:
            pass
    ids = [span_uuid(s.get_span_context().trace_id, s.get_span_context().span_id) for s in (root, chat)]
    if pipeline.flush(0.0):
        os.write(1, (" ".join(ids) + "\\n").encode())
    time.sleep(pause)
"""
)
DRAIN = (
    _PIPELINE
    + """
ok = pipeline.flush(float(sys.argv[1]))
status = pipeline.status()
print(ok and status.spans_pending == 0, status.spans_pending, dict(status.spans_dropped))
"""
)


@dataclass(frozen=True, kw_only=True)
class KillReport:
    """The result of a run. `extra_posts`: accepted (billed) POSTs beyond one for each trace."""

    kills: int
    acknowledged: int
    missing: int
    stored: int
    refused: int
    extra_posts: int
    files_left: Sequence[str]
    drain: str
    errors: str


class KillLoop:
    """A loop that keeps workers running on one spool directory, and kills one after the other."""

    def __init__(self, folder: Path, *, workers: int, pause_s: float = 0.1) -> None:
        self._folder = folder
        self._pause_s = pause_s
        self._rng = random.Random(1)
        self._workers = workers
        self._acknowledged: set[str] = set()
        self._errors: list[str] = []
        self._readers: list[threading.Thread] = []

    def run(
        self,
        server: StrictPandaProbe,
        *,
        kills: int,
        every_s: tuple[float, float] = (0.0, 0.0),
        acknowledged_between: tuple[int, int] = (0, 0),
    ) -> KillReport:
        """Kill this many workers, one at a time, then let a last process send the remaining spans.

        Each kill waits for a random number of seconds, and for a random number of acknowledged spans.
        """
        env = environment(server.url, PANDAPROBE_SPOOL_DIR=str(self._folder))
        workers = [self._start(env) for _ in range(self._workers)]
        for _ in range(kills):
            enough = len(self._acknowledged) + self._rng.randint(*acknowledged_between)
            time.sleep(self._rng.uniform(*every_s))
            self._wait_for(enough)
            victim = self._rng.randrange(len(workers))
            workers[victim].send_signal(signal.SIGKILL)
            workers[victim].wait()
            workers[victim] = self._start(env)
        for worker in workers:
            worker.send_signal(signal.SIGKILL)
            worker.wait()
        for reader in self._readers:
            reader.join(60)
        server.answer = lambda method, path: None
        drain = self._drain(env)
        return self._report(server, kills + len(workers), drain)

    def _wait_for(self, acknowledged: int) -> None:
        wait_until(lambda: len(self._acknowledged) >= acknowledged, what="enough spans are acknowledged")

    def _start(self, env: dict[str, str]) -> subprocess.Popen[str]:
        worker = subprocess.Popen(
            [sys.executable, "-c", WORKER, str(self._pause_s)],
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        reader = threading.Thread(target=self._read, args=(worker,), daemon=True)
        reader.start()
        self._readers.append(reader)
        return worker

    def _read(self, worker: subprocess.Popen[str]) -> None:
        assert worker.stdout is not None
        assert worker.stderr is not None
        with worker.stdout, worker.stderr:
            for line in worker.stdout:
                if line.endswith("\n"):
                    self._acknowledged.update(line.split())
            self._errors.append(worker.stderr.read())

    def _drain(self, env: dict[str, str], seconds: float = PATIENCE_S) -> str:
        done = subprocess.run(
            [sys.executable, "-c", DRAIN, str(seconds)],
            env=env,
            capture_output=True,
            text=True,
            timeout=seconds + 30,
            check=False,
        )
        self._errors.append(done.stderr)
        return done.stdout.strip()

    def _report(self, server: StrictPandaProbe, kills: int, drain: str) -> KillReport:
        accepted = [post for post in server.posts() if post.status in (0, 202)]
        stored = server.span_ids()
        return KillReport(
            kills=kills,
            acknowledged=len(self._acknowledged),
            missing=len(self._acknowledged - stored),
            stored=len(stored),
            refused=sum(post.status == 429 for post in server.posts()),
            extra_posts=len(accepted) - len(server.traces),
            files_left=sorted(name for name in os.listdir(self._folder) if not name.startswith("leases")),
            drain=drain,
            errors="".join(text for text in self._errors if "Traceback" in text),
        )


class Faults:
    """Faults for a share of requests: a 503, or a reset after the server carried the request out."""

    def __init__(self, *, seed: int = 2) -> None:
        self._rng = random.Random(seed)

    def __call__(self, method: str, path: str) -> Reply | None:
        drawn = self._rng.random()
        if drawn < 0.05:
            return Reply(status=503)
        return Reply(reset="accepted") if drawn < 0.08 else None
