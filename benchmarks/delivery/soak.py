"""An app that traces for hours, with a spool, to a server with random faults: growth and losses.

    python benchmarks/delivery/soak.py [--minutes 60] [--scale 1] [--seed 1]

The app makes 50 agent traces of three spans a minute. Of the requests, 5 % get 503, and 3 % are executed and
then reset. About every ten minutes, the server is away for half a minute. `--scale 30` runs everything, including
the limiter's window, thirty times as fast, so that ten minutes represent five hours. Memory, descriptors and threads of
the app are read from /proc, from 60 % of the time on. The app remembers the last ten thousand traces with about 400
bytes each, so its memory grows during the first 3.3 hours. The bound includes this growth.

Exit code 0 if all marks are met: Every span is stored and none was dropped. No request was refused for the rate. Memory
grew by less than 1 MB per represented hour, apart from the remembered traces. Descriptors and threads did not grow. The
spool is empty at the end.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import linear_regression, median

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "support"))

from pandaprobe_otel.assembly.assembler import REMEMBERED_TRACES
from strict_pandaprobe import Faults, StrictPandaProbe
from subprocesses import environment

A_MINUTE = 50
LIMIT = 100
WINDOW_S = 60.0
OUTAGE_EVERY_S, OUTAGE_S = 600.0, 30.0
MOST_GROWTH_MB_AN_HOUR = 1.0
WARM_UP = 0.6
REMEMBERED_BYTES = 400
"""Bytes of a remembered trace. With a spool, tracemalloc measures 390."""

APP = """
import json, sys, time
from scaled_pipeline import scaled_pipeline
window_s, pause_s = float(sys.argv[1]), float(sys.argv[2])
pipeline, provider = scaled_pipeline(window_s=window_s, request_timeout_s=30.0)
tracer = provider.get_tracer("soak")
begun, number, text = time.monotonic(), 0, "y" * 2_000
end = begun + float(sys.argv[3])
while (now := time.monotonic()) < end:
    with tracer.start_as_current_span("agent", attributes={"gen_ai.operation.name": "invoke_agent"}):
        for name in ("chat", "chat"):
            attributes = {"gen_ai.operation.name": "chat", "gen_ai.system_instructions": f"{number} {text}"}
            with tracer.start_as_current_span(name, attributes=attributes):
                pass
    number += 1
    time.sleep(max(begun + number * pause_s - time.monotonic(), 0.0))
print(json.dumps({"spans": 3 * number}), flush=True)
flushed = pipeline.flush(120)
status = pipeline.status()
provider.shutdown()
print(json.dumps({"delivered": status.spans_delivered, "pending": status.spans_pending,
                  "dropped": dict(status.spans_dropped)}), flush=True)
"""


@dataclass(frozen=True, slots=True)
class Reading:
    """Memory, descriptors and threads of the app's process at one time."""

    at: float
    memory_mb: float
    descriptors: int
    threads: int


def read(pid: int, at: float) -> Reading:
    """Read these figures of a process from /proc."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    descriptors = len(os.listdir(f"/proc/{pid}/fd"))
    return Reading(at, int(status["VmRSS"].split()[0]) / 1024, descriptors, int(status["Threads"]))


def outages(server: StrictPandaProbe, scale: float, seed: int, ended: threading.Event) -> None:
    """Stop the server at random times, for half a minute each."""
    gaps = random.Random(seed)
    while not ended.wait(gaps.uniform(0.5, 1.5) * OUTAGE_EVERY_S / scale):
        server.stop()
        ended.wait(OUTAGE_S / scale)
        server.start()


def main() -> int:
    """Run the soak; exit code 0 if every mark is met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    scale, seconds = options.scale, options.minutes * 60
    hours = seconds * scale / 3600
    with tempfile.TemporaryDirectory() as folder:
        spool = Path(folder) / "spool"
        with StrictPandaProbe(limit=LIMIT, window_s=max(int(WINDOW_S / scale), 1)) as server:
            server.answer = Faults(seed=options.seed)
            ended = threading.Event()
            breaker = threading.Thread(target=outages, args=(server, scale, options.seed, ended))
            command = [sys.executable, "-c", APP, str(WINDOW_S / scale), str(60 / A_MINUTE / scale), str(seconds)]
            env = environment(server.url, PANDAPROBE_SPOOL_DIR=str(spool), PYTHONPATH=sys.path[0])
            with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as app:
                breaker.start()
                readings = _watch(app.pid, seconds)
                assert app.stdout is not None
                made = json.loads(app.stdout.readline())["spans"]
                ended.set()
                breaker.join()
                server.answer = lambda method, path: None
                last = json.loads(app.stdout.readline())
                code = app.wait()
            stored = len(server.span_ids())
            refused = sum(post.status == 429 for post in server.posts())
            accepted = len(server.accepted_at)
            traces = len(server.traces)
        left = sorted(path.name for path in spool.glob("*.sqlite*"))
    warm = [each for each in readings if each.at >= seconds * WARM_UP]
    slope = linear_regression([each.at for each in warm], [each.memory_mb for each in warm]).slope
    growth = slope * 3600 / scale
    early, late = warm[: len(warm) // 3], warm[-len(warm) // 3 :]
    more = {
        what: median(getattr(each, what) for each in late) - median(getattr(each, what) for each in early)
        for what in ("descriptors", "threads")
    }
    print(f"{options.minutes:g} minutes at scale {scale:g}: {hours:.1f} hours of {A_MINUTE} traces a minute")
    print(f"spans {made}, stored {stored}, last word {last}, exit code {code}, files left {left}")
    print(f"traces {traces}, accepted {accepted}, refused for the rate {refused}")
    remembered = REMEMBERED_TRACES * REMEMBERED_BYTES / 2**20
    print(f"memory {warm[0].memory_mb:.1f} to {warm[-1].memory_mb:.1f} MB, {growth:+.2f} MB an hour")
    print(f"more at the end than at the beginning (medians): {more}")
    whole = stored == made and last == {"delivered": made, "pending": 0, "dropped": {}} and not code and not left
    ok = (
        whole
        and refused == 0
        and growth * hours < MOST_GROWTH_MB_AN_HOUR * hours + remembered
        and max(more.values()) <= 0
    )
    print("every mark holds" if ok else "a mark is not met")
    return 0 if ok else 1


def _watch(pid: int, seconds: float) -> list[Reading]:
    readings: list[Reading] = []
    begun = time.monotonic()
    while (at := time.monotonic() - begun) < seconds - 2:
        readings.append(read(pid, at))
        time.sleep(1.0)
    return readings


if __name__ == "__main__":
    sys.exit(main())
