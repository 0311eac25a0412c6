"""Cost of the live view to an app: 60 agents, 30 at a time, each of 20 spans with a millisecond of work.

    python benchmarks/local/live_view.py [rounds]

Each round runs the app three times against a local server in another process: without the live view, with it, and with
a server that is killed meanwhile. The order alternates. Prints the medians of wall and CPU time, and the medians of the
ratios within a round. The last line states whether they are at most 1.1.
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

AGENTS, SPANS, AT_ONCE = 60, 20, 30
MOST = 1.1
SERVER = """
import sys
from pandaprobe_otel.local import LocalServer
with LocalServer(limit=None) as server:
    print(server.url, flush=True)
    sys.stdin.read()
"""


@contextmanager
def server() -> Iterator[subprocess.Popen[str]]:
    """Run a local server in another process, which prints its URL as the first line."""
    process = subprocess.Popen([sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def app(url: str, live: bool) -> None:
    """Run the app and print the seconds that it took, without the delivery at its end."""
    import pandaprobe_otel

    pandaprobe_otel.init(endpoint=url, api_key="sk_pp_local", project_name="bench", live=live, instrument=False)

    @pandaprobe_otel.tool
    def step(number: int) -> int:
        until = time.perf_counter() + 0.001
        while time.perf_counter() < until:
            number += 1
        return number

    @pandaprobe_otel.agent
    def agent(number: int) -> int:
        return sum(step(number) for _ in range(SPANS - 1))

    wall, cpu = time.perf_counter(), time.process_time()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(agent, range(AGENTS)))
    print(json.dumps({"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}), flush=True)
    pandaprobe_otel.shutdown(5)


def measure(kind: str) -> dict[str, float]:
    """Return the times of one run."""
    with server() as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        command = [sys.executable, __file__, "app", url, str(kind != "without")]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PANDAPROBE_")}
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
        ) as child:
            if kind == "killed":
                threading.Timer(1.0, process.send_signal, (signal.SIGKILL,)).start()
            assert child.stdout is not None
            times: dict[str, float] = json.loads(child.stdout.readline())
            child.kill()
    return times


def main(rounds: int) -> None:
    """Run the benchmark."""
    kinds = ["without", "with", "killed"]
    seen: dict[str, list[dict[str, float]]] = {kind: [] for kind in kinds}
    for number in range(rounds):
        for kind in kinds if number % 2 else kinds[::-1]:
            seen[kind].append(measure(kind))
    worst = 0.0
    for kind in kinds:
        told: list[str] = []
        for unit in ("wall", "cpu"):
            median = statistics.median(times[unit] for times in seen[kind])
            pairs = zip(seen[kind], seen["without"], strict=True)
            ratio = statistics.median(times[unit] / base[unit] for times, base in pairs)
            worst = max(worst, ratio if unit == "wall" else 0.0)
            told.append(f"{unit} {median:.2f} s, ratio {ratio:.3f}")
        print(f"{kind:8} {'; '.join(told)}")
    print(f"at most {MOST}: {'yes' if worst <= MOST else 'no'} ({worst:.3f})")


if __name__ == "__main__":
    if sys.argv[1:2] == ["app"]:
        app(sys.argv[2], sys.argv[3] == "True")
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 7)
