"""The choice of a pipeline by the settings."""

from __future__ import annotations

import logging

from pandaprobe_otel.config.resolve import Config
from pandaprobe_otel.pipeline.interface import IdlePipeline, Pipeline
from pandaprobe_otel.process.forks import loading
from pandaprobe_otel.process.guard import pass_on

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
    # Everything that this pipeline will need is loaded here, while the app waits: a later import could find no file
    # descriptor left, would run beside the app's own imports, and might be copied half done into a forked child.
    try:
        with loading("pandaprobe_otel.pipeline.export_pipeline"):
            from pandaprobe_otel.pipeline.export_pipeline import ExportPipeline, file_pipeline

            if config.local is None:
                pipeline = ExportPipeline(
                    config, counts_starts=counts_starts, is_gateway=is_gateway, keeps_all=keeps_all
                )
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
