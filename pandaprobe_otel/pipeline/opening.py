"""The choice of a pipeline by the settings: one that delivers, or one that ignores every span."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from pandaprobe_otel.config.resolve import Config
from pandaprobe_otel.process.forks import loading
from pandaprobe_otel.process.guard import pass_on
from pandaprobe_otel.reporting.delivery_status import Status, described

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

    from pandaprobe_otel.pipeline.export_pipeline import ExportPipeline

_logger = logging.getLogger("pandaprobe_otel")

_was_opened = False

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

    def put_score(self, body: Mapping[str, Any], project: str = "") -> None:
        """Ignore the score."""

    def trace_url(self, trace_id: str) -> str | None:
        """Return None: nothing is sent anywhere."""
        return None

    def status(self) -> Status:
        """Return counts of zero, with the reason in `problems`."""
        return Status(enabled=False, **described(self.config))


def open_pipeline(config: Config, *, counts_starts: bool, is_gateway: bool = False) -> Pipeline:
    """Return a pipeline that delivers, or one that ignores every span if the settings cannot work.

    `is_gateway`: spans of many services arrive here, so a root may arrive after its children. Nothing is dropped for
    lack of memory or tokens, because callers of `receive` check `fill` first.
    Each problem is logged in one line that names the setting's source and the remedy.
    """
    global _was_opened
    _was_opened = True
    for problem in config.problems:
        _logger.warning("pandaprobe-otel: %s", problem.message)
    if not config.usable:
        return IdlePipeline(config)
    # Everything that this pipeline will need is loaded here, while the app waits: a later import could find no file
    # descriptor left, would run beside the app's own imports, and might be copied half done into a forked child.
    try:
        with loading("pandaprobe_otel.pipeline.export_pipeline"):
            from pandaprobe_otel.pipeline.export_pipeline import ExportPipeline, file_pipeline

            if config.local is None:
                pipeline = ExportPipeline(config, counts_starts=counts_starts, is_gateway=is_gateway)
            else:
                pipeline = file_pipeline(config, config.local, counts_starts=counts_starts)
    except (ImportError, OSError) as error:  # forked while loading, no descriptor left, a broken installation
        pass_on(error)
        _logger.warning("pandaprobe-otel: nothing is sent, because a module cannot be loaded: %s", error)
        return IdlePipeline(config)
    for message in pipeline.content_problems:
        _logger.warning("pandaprobe-otel: %s", message)
    return pipeline


def was_opened() -> bool:
    """Return whether `init()`, a processor or an exporter has opened a pipeline in this process."""
    return _was_opened
