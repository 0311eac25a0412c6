"""Eight real processes with one key, in real time: refused requests, losses, and the used share of the limit.

    python benchmarks/fleet/shared_key.py [--at-once 3]

gunicorn forks the processes (with and without `--preload`), or multiprocessing spawns them. They share the budget
through a real Redis, through a Redis that is killed and restarted, or through the file lock of a spool directory. Each
of the nine runs offers 120 traces a minute for three minutes, and ends when all have arrived (within ten minutes).
Marks: only answers with 202, every trace delivered, some from each process, and 97 % of the limit in the first three
minutes. The last mark does not apply to the restarted Redis, which is away for 30 s: nothing is sent until the leases
that it forgot have expired.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "support"))

from fleet_runs import PROCESSES, Budget, Plan, Result, Way, run_fleet

PLAN = Plan(rounds=45, every_s=4.0, within_s=600.0, away=(60.0, 90.0))
MINUTES = 3


def main() -> int:
    """Run all combinations; exit code 0 if every mark is met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--at-once", type=int, default=3, help="runs concurrently, each with its own server")
    options = parser.parse_args()
    print("processes, budget: accepted in each minute | refused | arrived of offered | processes", flush=True)
    with ThreadPoolExecutor(options.at_once) as pool:
        held = list(pool.map(lambda pair: _run(*pair), product(Way, Budget)))
    print("every mark holds" if all(held) else "a mark is not met")
    return 0 if all(held) else 1


def _run(way: Way, budget: Budget) -> bool:
    with tempfile.TemporaryDirectory() as scratch:
        result = run_fleet(way, budget, PLAN, Path(scratch))
    held = _holds(result, used=budget is not Budget.RESTARTED)
    minutes = int(result.accepted_at[-1] // 60) + 1 if result.accepted_at else 0
    each = [result.accepted_until((n + 1) * 60.0) - result.accepted_until(n * 60.0) for n in range(minutes)]
    print(
        f"{way}, {budget}: {' '.join(map(str, each))} | {result.refused} | {result.stored} of {result.offered} | "
        f"{result.processes}{'' if held else '  A MARK IS NOT MET'}",
        flush=True,
    )
    return held


def _holds(result: Result, *, used: bool) -> bool:
    least = 97 * MINUTES if used else 0
    return (
        result.refused == 0
        and result.stored == result.offered
        and result.processes == PROCESSES
        and result.accepted_until(MINUTES * 60.0) >= least
    )


if __name__ == "__main__":
    sys.exit(main())
