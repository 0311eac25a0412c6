"""The choice of a pipeline by the settings."""

from __future__ import annotations

import logging
from importlib import import_module

from pandaprobe_otel.config.resolve import Config
from pandaprobe_otel.pipeline.export_pipeline import ExportPipeline
from pandaprobe_otel.pipeline.interface import IdlePipeline, Pipeline
from pandaprobe_otel.transport.plain_socket import has_proxy, is_plain

_logger = logging.getLogger("pandaprobe_otel")

_was_opened = False


def open_pipeline(
    config: Config, *, counts_starts: bool, is_gateway: bool = False, keeps_all: bool = False
) -> Pipeline:
    """Return a pipeline that delivers, or one that ignores every span if the settings cannot work.

    `is_gateway`: spans of many services arrive here, so a root may arrive after its children.
    `keeps_all`: nothing is dropped for lack of memory or tokens, because callers of `receive` check `fill` first.
    Each problem is logged in one line that names the setting's source and the remedy.
    """
    global _was_opened
    _was_opened = True
    for problem in config.problems:
        _logger.warning("pandaprobe-otel: %s", problem.message)
    if not config.usable:
        return IdlePipeline(config)
    if config.local is None and (has_proxy() or not is_plain(config.endpoint)):
        # Delivery needs httpx here. Load it in the app's thread: the newest OpenAI client takes it out of
        # `sys.modules`, half loaded or not, so its calls would fail while a background thread loads it.
        import_module("httpx")
    if config.local is None:
        pipeline = ExportPipeline(config, counts_starts=counts_starts, is_gateway=is_gateway, keeps_all=keeps_all)
    else:
        pipeline = _file_pipeline(config, config.local, counts_starts=counts_starts)
    for message in pipeline.content_problems:
        _logger.warning("pandaprobe-otel: %s", message)
    return pipeline


def was_opened() -> bool:
    """Return whether `init()`, a processor or an exporter has opened a pipeline in this process."""
    return _was_opened


def _file_pipeline(config: Config, path: str, *, counts_starts: bool) -> ExportPipeline:
    """Return a pipeline that writes to a file, without a rate limit."""
    from pandaprobe_otel.delivery.budget import LeasedBucket
    from pandaprobe_otel.transport.file import FileTransport

    return ExportPipeline(
        config,
        counts_starts=counts_starts,
        transport=FileTransport(path),
        bucket=lambda: LeasedBucket(window_s=0.0, margin_s=0.0),
    )
