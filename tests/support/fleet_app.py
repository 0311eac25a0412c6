"""App of a fleet: each of its processes sets up PandaProbe in one line, and makes one trace per request.

gunicorn serves `app`. Run as a program, the module spawns processes that make traces by themselves. If the environment
has `FLEET_WINDOW_S`, the limit is `FLEET_LIMIT` requests in this many seconds instead of 100 in 60. Everything else
stays as it is.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

import pandaprobe_otel

HELD_S: Final = 0.05
"""Seconds for which a request occupies its gunicorn worker, so that a burst reaches the other workers too."""


def _begin() -> Callable[[float], bool]:
    """Set up PandaProbe; return its flush function, which takes a timeout in seconds."""
    if "FLEET_WINDOW_S" not in os.environ:
        return pandaprobe_otel.init().flush
    return _begin_scaled(float(os.environ["FLEET_WINDOW_S"]), int(os.environ["FLEET_LIMIT"]))


def _begin_scaled(window_s: float, limit: int) -> Callable[[float], bool]:
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider

    from pandaprobe_otel import PandaProbeSpanProcessor
    from pandaprobe_otel.config.resolve import Config
    from pandaprobe_otel.delivery.budget import LeasedBucket, Tokens
    from pandaprobe_otel.delivery.notices import Notices
    from pandaprobe_otel.delivery.redis_tokens import RedisLeases, RedisTokens
    from pandaprobe_otel.delivery.spool.lease_file import FileTokens
    from pandaprobe_otel.pipeline.export_pipeline import ExportPipeline

    config = Config.resolve()
    times: Any = {"window_s": window_s, "margin_s": 0.05, "request_timeout_s": 2.0}

    def tokens() -> Tokens:
        if config.redis_url is not None:
            leases = RedisLeases(config.redis_url, "scaled", answer_within_s=10.0, **times)  # enough for a busy machine
            return RedisTokens(leases, Notices(time.monotonic))
        return FileTokens(Path(config.spool or "") / "leases", **times)

    def bucket() -> LeasedBucket:
        return LeasedBucket(capacity=limit, window_s=window_s, margin_s=0.05, tokens=tokens())

    pipeline = ExportPipeline(config, counts_starts=True, bucket=bucket)
    provider = TracerProvider()
    provider.add_span_processor(PandaProbeSpanProcessor(pipeline=pipeline))
    trace.set_tracer_provider(provider)
    return pipeline.flush


flush = _begin()


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
    flush(600.0)


if __name__ == "__main__":
    spawn = multiprocessing.get_context("spawn")
    arguments = (int(sys.argv[2]), float(sys.argv[3]))
    workers = [spawn.Process(target=work, args=arguments) for _ in range(int(sys.argv[1]))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
