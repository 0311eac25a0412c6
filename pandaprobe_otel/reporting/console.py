"""Output of `console=True`: each sent trace as a tree on standard error."""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import orjson

from pandaprobe_otel.delivery.parcel import Parcel, Step
from pandaprobe_otel.reporting.trace_tree import trace_tree

_logger = logging.getLogger("pandaprobe_otel")

_AT: Final = "2026-01-01T00:00:00+00:00"
_SPECIMEN: Final = {
    "trace_id": "",
    "status": "ERROR",
    "spans": [
        {"kind": "LLM", "name": "→ 熊猫", "started_at": _AT, "ended_at": _AT, "token_usage": {"prompt_tokens": 1}}
    ],
}
"""Trace that is printed for rich to load what it loads on use."""


class TraceConsole:
    """Printer of posted traces. Needs rich (extra `cli`); without rich, it logs one warning and prints nothing."""

    def __init__(self) -> None:
        self._usable = True
        with suppress(ImportError):  # `show` warns
            from rich.console import Console

            # Printing loads more of rich.
            Console(file=io.StringIO()).print(trace_tree(_SPECIMEN))

    def show(self, requests: Sequence[Parcel]) -> None:
        """Print the traces among these requests."""
        created = [request for request in requests if request.step is Step.CREATE]
        if not created or not self._usable:
            return
        try:
            from rich.console import Console
        except ImportError:
            self._usable = False
            _logger.warning('pandaprobe-otel: console=True needs rich: pip install "pandaprobe-otel[cli]"')
            return
        for request in created:
            spans = [orjson.loads(span) for span in request.spans]
            Console(file=sys.stderr).print(trace_tree({**orjson.loads(request.fields), "spans": spans}))
