"""Start of the sink and the child processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from peers import python_of

HERE = Path(__file__).resolve().parent
Row = Mapping[str, float]


@contextmanager
def sink(*mark: str) -> Iterator[str]:
    """Run a sink in its own process and yield its URL."""
    with subprocess.Popen([sys.executable, HERE / "sink.py", *mark], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()


def run(
    measure: str, peer: str, workload: str, url: str, *more: str, timeout_s: float = 300
) -> dict[str, float] | None:
    """Return one measurement in a fresh process; None, with a printed line, if it failed.

    `exit_s` is the time from the last statement of the process to its end.
    """
    command = [str(python_of(peer)), str(HERE / "child.py"), measure, peer, workload, url, *more]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "PANDAPROBE_"))}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=timeout_s, env=environment, cwd=HERE, check=False
        )
    except subprocess.TimeoutExpired:
        print(f"{peer} {workload}: no result after {timeout_s:.0f} s")
        return None
    ended = time.monotonic()
    lines = done.stdout.strip().splitlines()
    if not lines:
        print(f"{peer} {workload}: {done.stderr.strip()[-300:]}")
        return None
    result: dict[str, float] = json.loads(lines[-1])
    if "ended_at" in result:
        result["exit_s"] = ended - result["ended_at"]
    return result


def interleaved(measure: str, peers: Sequence[str], workload: str, repeats: int) -> dict[str, list[Row]]:
    """Return `repeats` measurements of each peer, alternating, so that disturbances affect all of them."""
    rows: dict[str, list[Row]] = {peer: [] for peer in peers}
    with sink() as url:
        for repeat in range(repeats):
            turn = repeat % len(peers)
            round_rows = {peer: run(measure, peer, workload, url) for peer in (*peers[turn:], *peers[:turn])}
            for peer, row in round_rows.items():
                if row is not None:
                    rows[peer].append(row)
    return rows
