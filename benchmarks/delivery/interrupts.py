"""Interrupts at random moments of the first use and of `flush`: no process hangs, none loses or repeats a trace.

    python benchmarks/delivery/interrupts.py [--processes 200]

Each process is interrupted once during its first use (the imports, the start from the environment, the first spans),
or at each of its flushes. A loss is a trace that has ended and does not arrive; an interrupt that does not end the code
in which it strikes counts as swallowed.
"""

from __future__ import annotations

import argparse
import collections
import json
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "support"))

from strict_pandaprobe import StrictPandaProbe
from subprocesses import environment

LONGEST_S = 90.0

PROGRAM = """
import faulthandler, json, random, signal, sys, time
faulthandler.dump_traceback_later(60, exit=True)
chance, way = random.Random(int(sys.argv[1])), sys.argv[2]
signal.signal(signal.SIGALRM, signal.default_int_handler)
ended, reached, struck = [], 0, 0

def trace(name):
    from pandaprobe_otel import agent, span
    with agent(name):
        with span("child"):
            pass
    ended.append(name)

def interrupted(after_s, use):
    global reached
    try:
        signal.setitimer(signal.ITIMER_REAL, after_s)
        try:
            use()
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    except KeyboardInterrupt:
        reached += 1

import opentelemetry.trace, orjson, pandaprobe_otel
if way == "first use":
    interrupted(chance.uniform(0.001, 0.25), lambda: [trace(f"first {n}") for n in range(50)] and time.sleep(1))
else:
    trace("warm")
    for number in range(30):
        trace(f"trace {number}")
        interrupted(chance.uniform(0.00001, 0.003), lambda: pandaprobe_otel.flush(1))
trace("last")
began = time.monotonic()
done = pandaprobe_otel.flush(20)
status = pandaprobe_otel.status()
print(json.dumps({
    "ended": ended, "reached": reached, "done": done, "flush_s": time.monotonic() - began,
    "pending": status.spans_pending, "dropped": dict(status.spans_dropped),
}))
"""


def run(way: str, seed: int) -> tuple[collections.Counter[str], int]:
    """Run one process; return what was wrong, and the number of interrupts."""
    wrong: collections.Counter[str] = collections.Counter()
    with StrictPandaProbe() as server:
        try:
            done = subprocess.run(
                [sys.executable, "-c", PROGRAM, str(seed), way],
                env=environment(server.url), capture_output=True, text=True, timeout=LONGEST_S, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return collections.Counter({"no end": 1}), 0
        if done.returncode or not done.stdout:
            print(done.stderr[-1500:], file=sys.stderr)
            return collections.Counter({f"exit code {done.returncode}": 1}), 0
        told = json.loads(done.stdout.splitlines()[-1])
        arrived = collections.Counter(post.body["name"] for post in server.posts())
        wrong["lost"] = sum(arrived[name] == 0 for name in told["ended"])
        wrong["repeated"] = sum(count > 1 for count in arrived.values())
        wrong["dropped"] = sum(told["dropped"].values())
        wrong["pending"] = int(told["pending"] != 0)
        wrong["flush failed"] = int(not told["done"])
        if any(wrong.values()):
            print(way, seed, told, dict(arrived), done.stderr[-800:], file=sys.stderr)
        return wrong, told["reached"]


def main() -> None:
    """Run the processes, and print what was wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, default=200)
    options = parser.parse_args()
    for way in ("first use", "flush"):
        wrong: collections.Counter[str] = collections.Counter()
        interrupts = 0
        for seed in range(options.processes if way == "first use" else max(options.processes // 10, 1)):
            found, reached = run(way, seed)
            wrong += found
            interrupts += reached
        print(f"{way}: {interrupts} interrupts reached the app; wrong: {dict(wrong) or 'nothing'}")
        sys.stdout.flush()
        if wrong:
            raise SystemExit(1)


if __name__ == "__main__":
    main()
