"""Log lines at the end of a process: what was not delivered, and why."""

from __future__ import annotations

import logging
from typing import Final

_logger = logging.getLogger("pandaprobe_otel")

_NO_TIME: Final = "the time was too short"


def log_left_behind(spans: int, spool: str | None, last_error: str | None) -> None:
    """Log that spans wait in the spool."""
    _logger.warning(
        "pandaprobe-otel: %d spans wait in the spool %s (%s); the next process that uses it sends them.",
        spans,
        spool,
        last_error or _NO_TIME,
    )


def log_losses(spans: int, scores: int, ends: int, last_error: str | None, *, is_late: bool) -> None:
    """Log lost spans, scores and ends of traces, if there are any. `is_late`: the time for delivery was used up."""
    reason = last_error or _NO_TIME
    if spans:
        _logger.warning(
            "pandaprobe-otel: %d spans were not delivered when the process ended (%s). %s",
            spans,
            reason,
            "Raise PANDAPROBE_SHUTDOWN_TIMEOUT, or set PANDAPROBE_SPOOL_DIR to keep them on disk."
            if is_late
            else "Set PANDAPROBE_SPOOL_DIR to keep them on disk.",
        )
    if scores:
        _logger.warning(
            "pandaprobe-otel: %s not delivered when the process ended (%s). A score is sent once PandaProbe has its "
            "trace: check the trace id, or set PANDAPROBE_SHUTDOWN_TIMEOUT to wait longer.",
            "1 score was" if scores == 1 else f"{scores} scores were",
            reason,
        )
    if ends:
        _logger.warning(
            "pandaprobe-otel: %d traces stay RUNNING: their end was not delivered when the process ended (%s).",
            ends,
            reason,
        )
