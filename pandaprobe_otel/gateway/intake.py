"""From a request to the pipeline, and when a request may be answered with success."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Protocol

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan

from pandaprobe_otel.gateway.errors import busy
from pandaprobe_otel.gateway.otlp_spans import spans_of

FULL: Final = 0.9
"""From this share of the bound on, senders are asked to wait: what was accepted before is not to be lost."""
RETRY_FULL_S: Final = 30.0
RETRY_SLOW_S: Final = 5.0
_PATIENCE_S: Final = 20.0
_SLICE: Final = 512
"""Spans that are handed over at once; other requests get their turn in between."""


class Receiver(Protocol):
    """What the intake needs of a pipeline; see `ExportPipeline`."""

    def receive(self, spans: list[ReadableSpan], deadline: float) -> bool:
        """Take over ended spans in this thread; False when there was no time for it."""
        ...

    def fill(self) -> float:
        """How full the place is where spans wait; from 0 to 1."""
        ...

    def is_choosing(self) -> bool:
        """Whether traces are left out, since for minutes more have come than the limit lets through."""
        ...


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a request: OTLP's partial success says how many spans were rejected, and why."""

    accepted: int
    rejected: int

    @property
    def message(self) -> str:
        """Empty when nothing was rejected."""
        return f"{self.rejected} spans have no valid trace id or span id" if self.rejected else ""


class Intake:
    """Takes requests from any thread. What it has answered with success survives the process if there is a spool."""

    def __init__(self, receiver: Receiver, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._receiver = receiver
        self._monotonic = monotonic

    def check_room(self) -> None:
        """Raise RefusedError when senders are to wait, before their bodies are read.

        Not under an overload that lasts, where traces are chosen: the limit stays, so waiting would only move the loss
        into the senders' queues, where nobody counts it.
        """
        if (share := self._receiver.fill()) >= FULL and not self._receiver.is_choosing():
            raise busy(
                f"the gateway holds {share:.0%} of what it may, since PandaProbe takes less than arrives", RETRY_FULL_S
            )

    def take(self, request: ExportTraceServiceRequest) -> Taken:
        """Hand the spans on, to disk where there is a spool; RefusedError when there was no time for it."""
        deadline = self._monotonic() + _PATIENCE_S
        accepted = rejected = 0
        for batch in _slices(spans_of(request)):
            spans = [span for span in batch if span is not None]
            if not self._receiver.receive(spans, deadline):
                raise busy("the gateway is busy", RETRY_SLOW_S)
            accepted, rejected = accepted + len(spans), rejected + len(batch) - len(spans)
        return Taken(accepted, rejected)


def _slices(spans: Iterator[ReadableSpan | None]) -> Iterator[list[ReadableSpan | None]]:
    while some := list(itertools.islice(spans, _SLICE)):
        yield some
