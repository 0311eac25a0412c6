"""Many processes, or one that restarts, on one spool directory and one key, in real time: is the limit kept and used?

    python benchmarks/delivery/spool_limit.py [--processes 8] [--minutes 5] [--kill-every 5]
    python benchmarks/delivery/spool_limit.py --processes 1 --restart-every 30

All together offer three times the limit to the strict server (100 in a fixed window of 60 s, answers after 5 to
500 ms each way). `--kill-every`: one process at a time is killed by kill -9 and replaced; `--restart-every`: it ends
in good order instead. Marks: no 429, and at least 97 accepted a minute after the first.
"""

from __future__ import annotations

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "support"))

from strict_pandaprobe import StrictPandaProbe
from subprocesses import SET_UP, environment

WORKER = (
    SET_UP
    + """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
pause = float(sys.argv[1])
while True:
    one("saturated")
    time.sleep(pause)
"""
)


class Fleet:
    """So many workers, which together offer three times the limit."""

    def __init__(self, url: str, folder: Path, processes: int) -> None:
        self._env = environment(url, PANDAPROBE_SPOOL_DIR=str(folder), PANDAPROBE_SHUTDOWN_TIMEOUT="0.5")
        self._pause_s = processes * 60 / 300
        self.workers = [self._start() for _ in range(processes)]
        self._next = 0

    def replace(self, number: int) -> None:
        """End the next worker in turn by a signal and start another."""
        worker = self.workers[self._next]
        worker.send_signal(number)
        worker.wait(10)
        self.workers[self._next] = self._start()
        self._next = (self._next + 1) % len(self.workers)

    def stop(self) -> None:
        """End all."""
        for worker in self.workers:
            worker.kill()
            worker.wait(10)

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-c", WORKER, str(self._pause_s)], env=self._env, stderr=subprocess.DEVNULL
        )


def main() -> int:
    """Run the benchmark; exit code 0 when every mark holds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--kill-every", type=float, default=5.0)
    parser.add_argument("--restart-every", type=float)
    options = parser.parse_args()
    every_s = options.restart_every or options.kill_every
    number = signal.SIGTERM if options.restart_every else signal.SIGKILL
    delays = random.Random(1)
    with tempfile.TemporaryDirectory() as scratch:
        server = StrictPandaProbe(delay=lambda: delays.uniform(0.005, 0.5))
        with server:
            fleet = Fleet(server.url, Path(scratch) / "spool", options.processes)
            begun = time.monotonic()
            while time.monotonic() < begun + options.minutes * 60:
                time.sleep(every_s)
                fleet.replace(number)
            ended = time.monotonic()
            fleet.stop()
    first = server.accepted_at[0]
    refused = sum(post.status == 429 for post in server.posts())
    after_first = [at for at in server.accepted_at if first + 60 <= at < ended]
    per_minute = len(after_first) / ((ended - first - 60) / 60)
    print(f"{options.processes} processes, {options.minutes:g} min, signal {number.name} every {every_s:g} s")
    print(f"accepted {len(server.accepted_at)}, a minute after the first {per_minute:.1f}, 429s {refused}")
    print(f"traces {len(server.traces)}, billed twice {len(server.accepted_at) - len(server.traces)}")
    ok = refused == 0 and per_minute >= 97.0
    print("every mark holds" if ok else "a mark does not hold")
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
