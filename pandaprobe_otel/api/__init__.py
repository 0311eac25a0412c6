"""The API client: every operation of PandaProbe's HTTP API, synchronous (`Client`) and asynchronous (`AsyncClient`).

    with Client() as client:
        for trace in client.traces.iter(session_id="s-1"):
            ...
        run = client.evaluations.run("task_completion", session="s-1")
        print(run.wait().rows())

Models of answers are in `pandaprobe_otel.api.models`, the errors in `pandaprobe_otel.errors`. Importing this package
loads pydantic; the first request loads httpx.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pandaprobe_otel.process.forks import lazy_names

if TYPE_CHECKING:
    from pandaprobe_otel.api.client import AsyncClient, Client
    from pandaprobe_otel.api.monitors import MonitorPlan
    from pandaprobe_otel.api.request_budget import RateLimits
    from pandaprobe_otel.api.results import Pair, RunResult, vacuous_reason
    from pandaprobe_otel.api.runs import AsyncRun, Run

__all__ = [
    "AsyncClient",
    "AsyncRun",
    "Client",
    "MonitorPlan",
    "Pair",
    "RateLimits",
    "Run",
    "RunResult",
    "vacuous_reason",
]

if not TYPE_CHECKING:  # else a type checker would accept any name, even a misspelt one
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "client": ("AsyncClient", "Client"),
            "monitors": ("MonitorPlan",),
            "request_budget": ("RateLimits",),
            "results": ("Pair", "RunResult", "vacuous_reason"),
            "runs": ("AsyncRun", "Run"),
        },
    )
