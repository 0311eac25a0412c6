"""Cost of `traces.iter()` over 10,000 traces, compared with a hand-written loop.

Client and loop request pages of 200 from a local PandaProbe in another process, and decode the same JSON into the same
models. The loop does nothing else. Both alternate, so that a noisy machine affects both. The figures are the medians of
the ratios of wall time and of the client's CPU time, with quartiles.

    python benchmarks/api/bench_iter.py [repeats]
"""

from __future__ import annotations

import json
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from multiprocessing.connection import Connection
from uuid import uuid4

import httpx

from pandaprobe_otel.api import Client
from pandaprobe_otel.api.models import Page, TraceListItem
from pandaprobe_otel.local import LocalServer

TRACES = 10_000
PAGE = 200


def serve(pipe: Connection) -> None:
    """Send the URL of a server without limits, and run the server until a message arrives."""
    with LocalServer(limit=None) as server:
        pipe.send(server.url)
        pipe.recv()


def fill(url: str) -> None:
    """Post the traces."""
    start = datetime(2026, 1, 1, tzinfo=UTC)
    with httpx.Client(base_url=url, headers=headers()) as client:
        for number in range(TRACES):
            body = {
                "trace_id": str(uuid4()),
                "name": f"trace {number}",
                "started_at": (start + timedelta(seconds=number)).isoformat(),
                "ended_at": (start + timedelta(seconds=number + 1)).isoformat(),
                "session_id": f"s-{number // 10}",
                "user_id": "u",
                "tags": ["production", "v2"],
                "environment": "production",
            }
            client.post("/traces", content=json.dumps(body), headers={"Content-Type": "application/json"})


def headers() -> dict[str, str]:
    """Return the headers: a key and the project."""
    return {"X-API-Key": "sk_pp_bench", "X-Project-Name": "bench"}


def by_hand(url: str) -> int:
    """Read the list as a user would without the client."""
    count = offset = 0
    with httpx.Client(base_url=url, headers=headers()) as client:
        while True:
            response = client.get("/traces", params={"limit": PAGE, "offset": offset})
            response.raise_for_status()
            page = Page[TraceListItem].model_validate_json(response.content)
            for _trace in page.items:
                count += 1
            offset += len(page.items)
            if not page.items or offset >= page.total:
                return count


def by_client(url: str) -> int:
    """Read the list with the client, without its rate limit, since the hand-written loop has none."""
    count = 0
    with Client("sk_pp_bench", "bench", url, rate_limits=None) as client:
        for _trace in client.traces.iter(page_size=PAGE):
            count += 1
    return count


def timed(walk: Callable[[str], int], url: str) -> tuple[float, float]:
    """Return the wall and CPU seconds of one pass."""
    wall, processor = time.perf_counter(), time.process_time()
    count = walk(url)
    if count != TRACES:
        raise SystemExit(f"{walk.__name__} saw {count} of {TRACES} traces")
    return time.perf_counter() - wall, time.process_time() - processor


def main(repeats: int) -> None:
    """Measure and print."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs,))
    process.start()
    url = ours.recv()
    try:
        fill(url)
        timed(by_hand, url), timed(by_client, url)
        runs = [(timed(by_hand, url), timed(by_client, url)) for _ in range(repeats)]
    finally:
        ours.send("stop")
        process.join()
    for place, name in enumerate(("wall", "processor")):
        hand = statistics.median(run[0][place] for run in runs)
        client = statistics.median(run[1][place] for run in runs)
        low, middle, high = statistics.quantiles([run[1][place] / run[0][place] for run in runs], n=4)
        print(
            f"{name:9}  by hand {hand * 1e3:7.1f} ms   client {client * 1e3:7.1f} ms"
            f"   ratio {middle:.3f} (quartiles {low:.3f} to {high:.3f})"
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 15)
