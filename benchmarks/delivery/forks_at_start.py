"""Forks at random moments of a process's first second, while other threads use the library for the first time.

    python benchmarks/delivery/forks_at_start.py [--forks 200] [--seed 1]

Half of the processes have a spool. Each forks once while its threads start to trace; parent and child go on tracing and
end. Every trace must arrive, once, and every process must end by itself within a minute. Exits with 1 otherwise.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "support"))

from strict_pandaprobe import StrictPandaProbe
from subprocesses import environment

LONGEST_S = 60.0
AT_ONCE = 4
PROGRAM = """
import os, sys, threading, time, warnings
warnings.simplefilter("ignore", DeprecationWarning)
moment, label = float(sys.argv[1]), sys.argv[2]
begun = time.monotonic()
import pandaprobe_otel as pp
if label.endswith("0"):  # the other half starts from the environment
    pp.init(instrument=False)
    begun = time.monotonic()
made = []
def trace(who):
    for number in range(3):
        name = f"{label} {who} {number}"
        with pp.agent(name):
            with pp.span("step"):
                pass
        made.append(name)
        time.sleep(0.05)
threads = [threading.Thread(target=trace, args=(f"thread {number}",)) for number in range(2)]
for thread in threads: thread.start()
time.sleep(max(moment - (time.monotonic() - begun), 0))
pid = os.fork()
if pid == 0:
    made.clear()
    trace("child")
else:
    for thread in threads: thread.join()
    trace("parent")
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code:
        print("the child ended with", code)
os.write(1, ("".join(f"{name}\\n" for name in made)).encode())
"""


def run_one(number: int, moment: float, url: str, folder: str) -> tuple[list[str], str]:
    """Run one process that forks; return the names of its traces, and what is wrong with it."""
    env = environment(url, PANDAPROBE_SHUTDOWN_TIMEOUT="30")
    if number % 4 < 2:
        env["PANDAPROBE_SPOOL_DIR"] = f"{folder}/{number}"
    label = f"p{number // 2}-{number % 2}"
    command = [sys.executable, "-c", PROGRAM, str(moment), label]
    process = subprocess.Popen(
        command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        out, err = process.communicate(timeout=LONGEST_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        process.communicate()
        return [], f"{label} hung after a fork at {moment:.3f} s"
    lines = out.splitlines()
    names = [line for line in lines if line.startswith(label)]
    wrong = [line for line in lines if not line.startswith(label)]
    if process.returncode or err.strip() or wrong or len(names) != 12:
        return names, f"{label}, fork at {moment:.3f} s, code {process.returncode}: {len(names)} {wrong} {err[-600:]}"
    return names, ""


def main() -> int:
    """Run the processes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--forks", type=int, default=200)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    chosen = parser.parse_args()
    chance = random.Random(chosen.seed)
    print("seed", chosen.seed, flush=True)
    moments = [chance.random() for _ in range(chosen.forks)]
    with (
        StrictPandaProbe(limit=1_000_000) as server,
        tempfile.TemporaryDirectory() as folder,
        ThreadPoolExecutor(AT_ONCE) as pool,
    ):
        runs = pool.map(lambda pair: run_one(pair[0], pair[1], server.url, folder), enumerate(moments))
        made, problems = Counter[str](), list[str]()
        for names, problem in runs:
            made.update(names)
            if problem:
                problems.append(problem)
                print(problem, flush=True)
        arrived = Counter(str(post.body["name"]) for post in server.posts())
    lost, repeated = made - arrived, arrived - made
    print(f"{chosen.forks} forks: {made.total()} traces made, {arrived.total()} arrived, ", end="")
    print(f"{lost.total()} lost, {repeated.total()} more than made, {len(problems)} problems")
    for name in [*lost, *repeated][:20]:
        print("lost or repeated:", name)
    return 1 if lost or repeated or problems else 0


if __name__ == "__main__":
    sys.exit(main())
