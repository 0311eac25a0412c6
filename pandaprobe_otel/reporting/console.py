"""Output of `console=True`: each sent trace as a tree on standard error."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence

import orjson

from pandaprobe_otel.delivery.outgoing_request import OutgoingRequest, Step

_logger = logging.getLogger("pandaprobe_otel")


class TraceConsole:
    """Printer of posted traces. Needs rich (extra `cli`); without rich, it logs one warning and prints nothing."""

    def __init__(self) -> None:
        self._usable = True

    def show(self, requests: Sequence[OutgoingRequest]) -> None:
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
        from pandaprobe_otel.reporting.trace_tree import trace_tree

        for request in created:
            spans = [orjson.loads(span) for span in request.spans]
            Console(file=sys.stderr).print(trace_tree({**orjson.loads(request.fields), "spans": spans}))
