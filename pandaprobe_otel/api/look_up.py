"""Search for the result of a request whose answer was lost."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, TypeAlias
from uuid import UUID

from pandaprobe_otel.api.call_steps import Connection, Steps, call
from pandaprobe_otel.api.models import EvalRun, Monitor, TraceScore
from pandaprobe_otel.api.resources.monitors import LIST as LIST_MONITORS
from pandaprobe_otel.api.resources.monitors import RUNS as MONITOR_RUNS
from pandaprobe_otel.api.resources.runs import SESSION_RUNS, TRACE_RUNS
from pandaprobe_otel.api.scoring import CLOCK_SKEW, find_scores
from pandaprobe_otel.errors import InvalidRequest, OutcomeUnknown, SentRequest

Found: TypeAlias = list[EvalRun] | list[TraceScore] | list[Monitor]

_RUNS: Final = re.compile(r"/evaluations/(trace|session)-runs(?:/batch|/(?P<retried>[^/]+)/retry)?")
_TRIGGER: Final = re.compile(r"/evaluations/monitors/(?P<monitor>[^/]+)/trigger")
_IDS: Final = ("trace_ids", "session_ids")


def look_up(connection: Connection, error: OutcomeUnknown) -> Steps[Found]:
    """Return the objects that a request created before its answer was lost, latest first; empty without any.

    Raises:
        InvalidRequest: the request creates neither a run nor a score nor a monitor.
    """
    request = error.request
    if request is None:
        raise InvalidRequest("This error does not describe the request.")
    since = request.sent_at - CLOCK_SKEW
    if run := _RUNS.fullmatch(request.path):
        return (yield from _runs(connection, request, run, since))
    if trigger := _TRIGGER.fullmatch(request.path):
        path = {"monitor_id": trigger["monitor"]}
        page = yield from call(connection, MONITOR_RUNS, path=path, query={"limit": 50})
        return [found for found in page.items if found.created_at >= since]
    if request.path == "/evaluations/trace-scores":
        return (yield from find_scores(connection, request.body, since=since))
    if request.path == LIST_MONITORS.path:
        monitors = yield from call(connection, LIST_MONITORS, query={"limit": 200})
        return [each for each in monitors.items if each.created_at >= since and each.name == request.body["name"]]
    raise InvalidRequest(f"{request.method} {request.path} cannot be looked up: list and compare the objects.")


def _runs(connection: Connection, request: SentRequest, match: re.Match[str], since: datetime) -> Steps[list[EvalRun]]:
    endpoints = SESSION_RUNS if match[1] == "session" else TRACE_RUNS
    page = yield from call(connection, endpoints.list, query={"limit": 200})
    recent = [run for run in page.items if run.created_at >= since]
    if match["retried"]:
        return [run for run in recent if run.filters.get("retry_of") == str(UUID(match["retried"]))]
    return [run for run in recent if _is_of(run, request.body)]


def _is_of(run: EvalRun, body: Mapping[str, Any]) -> bool:
    """Return whether a run matches a body. Dates are ignored, because the server writes them in its own format."""
    if run.name != body.get("name") or run.metric_names != body["metrics"]:
        return False
    wanted = {**body.get("filters", {}), **{name: body[name] for name in _IDS if name in body}}
    return all(run.filters.get(name) == value for name, value in wanted.items() if not name.startswith("date_"))
