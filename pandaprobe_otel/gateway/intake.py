"""Delivery of requests to the pipeline, and the condition for answering them with success."""

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
"""Share of the bound from which senders must wait, so that no accepted spans are lost."""
RETRY_FULL_S: Final = 30.0
RETRY_SLOW_S: Final = 5.0
_PATIENCE_S: Final = 20.0
_SLICE: Final = 512
"""Spans handed over at once; other requests get their turn in between."""
_SLICE_ELEMENTS: Final = 20_000
"""Attributes and similar elements in them: the objects that a request has in memory, 200 bytes each."""


class Receiver(Protocol):
    """The part of a pipeline that the intake needs; see `ExportPipeline`."""

    def receive(self, spans: list[ReadableSpan], deadline: float) -> bool:
        """Take over ended spans in this thread; return False if there was no time for it."""
        ...

    def fill(self) -> float:
        """Return the filled share of the room for waiting spans, from 0 to 1."""
        ...

    def is_choosing(self) -> bool:
        """Return whether traces are left out because for minutes more have come than the limit allows."""
        ...


@dataclass(frozen=True, slots=True)
class Taken:
    """The result of a request: OTLP's partial success has the number of rejected spans and the reason."""

    accepted: int
    rejected: int
    message: str = ""
    """Empty if nothing was rejected."""


class Intake:
    """Intake of requests from any thread. With a spool, spans answered with success survive the process."""

    def __init__(self, receiver: Receiver, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._receiver = receiver
        self._monotonic = monotonic

    def check_room(self) -> None:
        """Raise RefusedError if senders must wait, before their bodies are read.

        They need not wait while traces are chosen, which only happens if the gateway was told to.
        """
        if (share := self._receiver.fill()) >= FULL and not self._receiver.is_choosing():
            raise busy(
                f"the gateway holds {share:.0%} of what it may, since PandaProbe takes less than arrives", RETRY_FULL_S
            )

    def take(self, read: Callable[[Allowance], Iterator[Found]]) -> Taken:
        """Hand the spans on; with a spool, to disk.

        Raises RefusedError if there was no time for it, or nothing of the request can be taken.
        """
        self.check_room()  # once more: others have been taken while the body arrived and waited for its turn
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
