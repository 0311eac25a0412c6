"""From a request to the pipeline, and when a request may be answered with success."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Protocol

from opentelemetry.sdk.trace import ReadableSpan

from pandaprobe_otel.gateway.bounds import Allowance
from pandaprobe_otel.gateway.errors import busy, unreadable
from pandaprobe_otel.gateway.otlp_spans import Found
from pandaprobe_otel.gateway.rejections import Rejected, Rejections

FULL: Final = 0.9
"""From this share of the bound on, senders are asked to wait: what was accepted before is not to be lost."""
RETRY_FULL_S: Final = 30.0
RETRY_SLOW_S: Final = 5.0
_PATIENCE_S: Final = 20.0
_SLICE: Final = 512
"""Spans that are handed over at once; other requests get their turn in between."""
_SLICE_ELEMENTS: Final = 20_000
"""Attributes and the like in them: what a request has in memory as objects, 200 bytes each."""


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
    message: str = ""
    """Empty when nothing was rejected."""


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

    def take(self, read: Callable[[Allowance], Iterator[Found]]) -> Taken:
        """Hand the spans on, to disk where there is a spool.

        RefusedError: there was no time for it, or nothing of the request can be taken.
        """
        deadline = self._monotonic() + _PATIENCE_S
        allowance = Allowance()
        rejections = Rejections()
        accepted = 0
        for spans in _slices(read(allowance), allowance, rejections):
            if not self._receiver.receive(spans, deadline):
                raise busy("the gateway is busy", RETRY_SLOW_S)
            accepted += len(spans)
        if rejections.count and not accepted:
            raise unreadable(f"nothing of the request can be taken: {rejections.message}")
        return Taken(accepted, rejections.count, rejections.message)


def _slices(all_found: Iterator[Found], allowance: Allowance, rejections: Rejections) -> Iterator[list[ReadableSpan]]:
    spans: list[ReadableSpan] = []
    left = allowance.left
    for found in all_found:
        if isinstance(found, Rejected):
            rejections.add(found)
            continue
        spans.append(found)
        if len(spans) >= _SLICE or left - allowance.left >= _SLICE_ELEMENTS:
            yield spans
            spans, left = [], allowance.left
    if spans:
        yield spans
