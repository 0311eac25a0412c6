"""App of a fleet, whose processes share a limit of `FLEET_LIMIT` requests in `FLEET_WINDOW_S` seconds.

gunicorn serves `app`, which makes one trace per request. Run as a program, the module spawns processes that make traces
by themselves.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any, Final

from opentelemetry import trace

import pandaprobe_otel
from scaled_pipeline import scaled_pipeline

HELD_S: Final = 0.05
"""Seconds for which a request occupies its gunicorn worker, so that a burst reaches the other workers too."""
pipeline, provider = scaled_pipeline(window_s=float(os.environ["FLEET_WINDOW_S"]), limit=int(os.environ["FLEET_LIMIT"]))
trace.set_tracer_provider(provider)


def run_agent(name: str) -> None:
    """Make one trace, whose name begins with the id of this process."""
    with pandaprobe_otel.agent(f"{os.getpid()} {name}"), pandaprobe_otel.llm("chat"):
        pass


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer one request with one trace."""
    run_agent(environ["PATH_INFO"].strip("/"))
    time.sleep(HELD_S)
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]


def work(traces: int, every_s: float) -> None:
    """Make this many traces at this pace, then wait until all of them are delivered."""
    begun = time.monotonic()
    for number in range(traces):
        time.sleep(max(begun + number * every_s - time.monotonic(), 0))
        run_agent(str(number))
    pipeline.flush(600.0)


if __name__ == "__main__":
    spawn = multiprocessing.get_context("spawn")
    arguments = (int(sys.argv[2]), float(sys.argv[3]))
    workers = [spawn.Process(target=work, args=arguments) for _ in range(int(sys.argv[1]))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
