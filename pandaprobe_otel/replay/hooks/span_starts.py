"""OpenTelemetry's SDK: each started span is reported to the recording, since spans name the paths of calls."""

from __future__ import annotations

from typing import Any

from pandaprobe_otel.errors import RecordingError
from pandaprobe_otel.replay.hooks.patch import Patch, patch
from pandaprobe_otel.replay.open_recordings import owner


def install(trace: Any) -> list[Patch]:
    """Hook `opentelemetry.sdk.trace`."""
    return [patch(trace.Tracer, "start_span", _start_span)]


def _start_span(original: Any, tracer: Any, name: str, *arguments: Any, **options: Any) -> Any:
    span = original(tracer, name, *arguments, **options)
    try:
        run = owner()
    except RecordingError:  # The span is not recorded itself. A request below it will raise the same error.
        return span
    if run is not None:
        run.places.started(span, name)
    return span
