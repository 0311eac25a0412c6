"""Many processes, or one that restarts, with one key in real time: refused requests, and the used share of the limit.

    python benchmarks/delivery/shared_limit.py [--processes 8] [--minutes 5] [--kill-every 5]
    python benchmarks/delivery/shared_limit.py --processes 1 --restart-every 30
    python benchmarks/delivery/shared_limit.py --redis [--away-from 120 --away-until 300] [--join-over 60]

The processes share a spool directory or, with `--redis`, a Redis that this program starts. Together they offer three
times the limit to the strict server, which allows 100 requests in a fixed window of 60 s. Each direction takes 5 to
500 ms.

--kill-every: seconds between two kills (kill -9). Each kill ends one process, which is replaced. 0: no kills.
--restart-every: the same, but processes end normally.
--away-from, --away-until: the seconds at which Redis is killed, and started again without its data.
--join-over: the seconds within which the processes start, one by one.

Marks: No 429. After the first minute, at least 97 requests are accepted per minute. With `--away-from`, at least 60 are
accepted per minute while Redis is away for three minutes, and at least 95 from 20 s after its return. The mark of 60
is only checked if all processes were started half a minute before Redis is killed.
"""

from __future__ import annotations

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "support"))

from redis_server import RedisServer
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
    """Workers that together offer three times the limit."""

    def __init__(self, url: str, processes: int, begin_with: int, **settings: str) -> None:
        self._env = environment(url, PANDAPROBE_SHUTDOWN_TIMEOUT="0.5", **settings)
        self._pause_s = processes * 60 / 300
        self.workers = [self._start() for _ in range(begin_with)]
        self._next = 0

    def replace(self, number: int) -> None:
        """End the next worker in turn by a signal, and start another one."""
        worker = self.workers[self._next]
        worker.send_signal(number)
        worker.wait(10)
        self.workers[self._next] = self._start()
        self._next = (self._next + 1) % len(self.workers)

    def join(self) -> None:
        """Start one more worker."""
        self.workers.append(self._start())

    def stop(self) -> None:
        """Kill all workers."""
        for worker in self.workers:
            worker.kill()
            worker.wait(10)

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-c", WORKER, str(self._pause_s)], env=self._env, stderr=subprocess.DEVNULL
        )


def main() -> int:
    """Run the benchmark; exit code 0 if every mark is met."""
    options = _options()
    every_s = options.restart_every or options.kill_every
    number = signal.SIGTERM if options.restart_every else signal.SIGKILL
    delays = random.Random(1)
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        redis = stack.enter_context(RedisServer()) if options.redis else None
        where = {"PANDAPROBE_REDIS_URL": redis.url} if redis else {"PANDAPROBE_SPOOL_DIR": str(Path(scratch) / "spool")}
        server = stack.enter_context(StrictPandaProbe(delay=lambda: delays.uniform(0.005, 0.5)))
        later = range(1, options.processes) if options.join_over else range(0)
        fleet = Fleet(server.url, options.processes, options.processes - len(later), **where)
        begun = time.monotonic()
        events: list[tuple[float, Callable[[], object]]] = [(begun + options.minutes * 60, lambda: None)]
        events += [(begun + each * options.join_over / len(later), fleet.join) for each in later]
        if every_s:
            times = range(1, int(options.minutes * 60 / every_s) + 1)
            events += [(begun + number_of * every_s, lambda: fleet.replace(number)) for number_of in times]
        if redis and options.away_from is not None:
            events += [(begun + options.away_from, redis.stop), (begun + options.away_until, redis.start)]
        for at, happen in sorted(events, key=lambda event: event[0]):
            time.sleep(max(at - time.monotonic(), 0))
            happen()
        ended = time.monotonic()
        fleet.stop()
    return _report(options, server, begun, ended, f"signal {number.name} every {every_s:g} s")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--kill-every", type=float, default=5.0)
    parser.add_argument("--restart-every", type=float)
    parser.add_argument("--redis", action="store_true")
    parser.add_argument("--join-over", type=float, default=0.0)
    parser.add_argument("--away-from", type=float)
    parser.add_argument("--away-until", type=float, default=300.0)
    return parser.parse_args()


def _report(options: argparse.Namespace, server: StrictPandaProbe, begun: float, ended: float, signals: str) -> int:
    refused = sum(post.status == 429 for post in server.posts())
    place = "Redis" if options.redis else "a spool directory"
    print(f"{options.processes} processes share {place}, {options.minutes:g} min, {signals}")
    print(f"accepted {len(server.accepted_at)}, 429s {refused}")
    print(f"traces {len(server.traces)}, billed twice {len(server.accepted_at) - len(server.traces)}")
    first = server.accepted_at[0]
    marks = [("after the first minute", first + 60, ended, 97.0)]
    if options.redis and options.away_from is not None:
        away, back = begun + options.away_from, begun + options.away_until
        marks = [("after", back + 20, ended, 95.0)]
        if away > first + 90 and away > begun + options.join_over + 30:
            marks += [("before", first + 60, away, 97.0), ("away", away, back, 60.0)]
    ok = refused == 0
    for name, start, end, least in marks:
        per_minute = sum(start <= at < end for at in server.accepted_at) / ((end - start) / 60)
        ok = ok and per_minute >= least
        print(f"{name}: {per_minute:.1f} a minute (at least {least:g})")
    print("every mark holds" if ok else "a mark is not met")
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
