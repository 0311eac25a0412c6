"""Pipelines for processors, exporters and the object returned by `init`, and the one that ignores every span."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from pandaprobe_otel.config.resolve import Config
from pandaprobe_otel.reporting.delivery_status import Status, described

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

    from pandaprobe_otel.pipeline.export_pipeline import ExportPipeline

Pipeline: TypeAlias = "ExportPipeline | IdlePipeline"
"""Pipeline that delivers, or that ignores every span."""


class IdlePipeline:
    """Pipeline that ignores every span, because the settings disable it or cannot work."""

    selection: Any = None
    destination: str | None = None
    is_closed = False

    def __init__(self, config: Config) -> None:
        self.config = config

    def started(self, span: ReadableSpan) -> None:
        """Ignore the span."""

    def ended(self, span: ReadableSpan) -> None:
        """Ignore the span."""

    def unsampled(self) -> None:
        """Ignore the span."""

    def logged(self, record: Any) -> None:
        """Ignore the record."""

    def flush(self, timeout: float = 30.0) -> bool:
        """Return True, because nothing waits."""
        return True

    def shutdown(self, timeout: float | None = None) -> bool:
        """Return True, because nothing waits."""
        return True

    def put_score(self, body: Mapping[str, Any]) -> None:
        """Ignore the score."""

    def trace_url(self, trace_id: str) -> str | None:
        """Return None: nothing is sent anywhere."""
        return None

    def status(self) -> Status:
        """Return counts of zero, with the reason in `problems`."""
        return Status(enabled=False, **described(self.config))
