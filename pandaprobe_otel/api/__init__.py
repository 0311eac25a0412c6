"""The API client: every operation of PandaProbe's HTTP API, synchronous (`Client`) and asynchronous (`AsyncClient`).

    with Client() as client:
        for trace in client.traces.iter(session_id="s-1"):
            ...
        run = client.evaluations.run("task_completion", session="s-1")
        print(run.wait().rows())

Models of answers are in `pandaprobe_otel.api.models`, the errors in `pandaprobe_otel.errors`. Importing this loads
pydantic; httpx is loaded with the first request.
"""

from __future__ import annotations

from pandaprobe_otel.api.budget import RateLimits
from pandaprobe_otel.api.client import AsyncClient, Client
from pandaprobe_otel.api.monitors_as_code import MonitorPlan
from pandaprobe_otel.api.runs.result import Pair, RunResult
from pandaprobe_otel.api.runs.run import AsyncRun, Run
from pandaprobe_otel.api.runs.vacuous import vacuous_reason

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
