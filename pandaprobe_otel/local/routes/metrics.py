"""The available metrics and judges."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from pandaprobe_otel.api import models as answers
from pandaprobe_otel.judge.metrics import SESSION_METRICS, THRESHOLD, TRACE_METRICS, metric_records
from pandaprobe_otel.judge.prompts import QUESTIONS, prompt_for
from pandaprobe_otel.local.auth import Scope
from pandaprobe_otel.local.errors import refused
from pandaprobe_otel.local.models.evaluations import TraceRunFilters
from pandaprobe_otel.local.routing import ApiRoute, answer

router = APIRouter(route_class=ApiRoute, tags=["evaluations"], prefix="/evaluations")


@router.get("/providers", response_model=list[answers.Provider])
def get_available_providers(scope: Scope) -> Response:
    """List the providers of judges and their availability."""
    return answer(scope.services.evaluation.judge.provider_records())


@router.get("/trace-metrics", response_model=list[answers.Metric])
def get_available_metrics(_scope: Scope) -> Response:
    """List the metrics of traces."""
    return answer(metric_records(TRACE_METRICS, "trace"))


@router.get("/session-metrics", response_model=list[answers.Metric])
def get_available_session_metrics(_scope: Scope) -> Response:
    """List the metrics of sessions."""
    return answer(metric_records(SESSION_METRICS, "session"))


@router.get("/trace-runs/template", response_model=dict[str, Any])
def get_eval_run_template(scope: Scope, metric: str) -> Response:
    """Return the defaults of a run with one metric, and the question to the judge."""
    if metric not in TRACE_METRICS:
        raise refused(f"Unknown metric: {metric}")
    preview = (
        [{"stage": "judge", "prompt": prompt_for(metric, {"name": "…", "spans": []})}] if metric in QUESTIONS else []
    )
    return answer(
        {
            "metric": {
                "name": metric,
                "description": TRACE_METRICS[metric],
                "category": "trace",
                "default_threshold": THRESHOLD,
                "prompt_preview": preview,
            },
            "filters": TraceRunFilters().model_dump(),
            "sampling_rate": 1.0,
            "model": scope.services.evaluation.judge.model(None),
        }
    )
