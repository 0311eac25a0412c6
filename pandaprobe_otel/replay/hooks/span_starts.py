"""OpenTelemetry's SDK: each span that starts is told to the recording, which names the places of calls by them."""

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
    except RecordingError:  # a span is none of a recording's business; a request here will be told
        return span
    if run is not None:
        run.places.started(span, name)
    return span
