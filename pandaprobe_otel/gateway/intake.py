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
"""Fill level from which senders must wait, so that no accepted spans are lost."""
RETRY_FULL_S: Final = 30.0
RETRY_SLOW_S: Final = 5.0
_PATIENCE_S: Final = 20.0
_SLICE: Final = 512
"""Spans that are passed on at once. Other requests get their turn in between."""
_SLICE_ELEMENTS: Final = 20_000
"""Attributes and similar elements that are passed on at once. Each is an object of 200 bytes."""


class Receiver(Protocol):
    """Interface of the pipeline for the intake; see `ExportPipeline`."""

    def receive(self, spans: list[ReadableSpan], deadline: float) -> bool:
        """Take over ended spans in this thread; return False if the time was too short."""
        ...

    def fill(self) -> float:
        """Return the fill level of the send queue, from 0 to 1."""
        ...

    def is_choosing(self) -> bool:
        """Return whether new traces take the room of others, rather than being refused when the queue is full."""
        ...


@dataclass(frozen=True, slots=True)
class Taken:
    """Result of a request. OTLP's partial success has the number of rejected spans and the reason."""

    accepted: int
    rejected: int
    message: str = ""
    """Empty if no span was rejected."""


class Intake:
    """Intake of requests from any thread. With a spool, accepted spans survive the process."""

    def __init__(self, receiver: Receiver, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._receiver = receiver
        self._monotonic = monotonic

    def check_room(self) -> None:
        """Raise RefusedError if senders must wait, before their bodies are read.

        Senders need not wait while traces are left out, which only happens if `sample_overload` is set.
        """
        if (share := self._receiver.fill()) >= FULL and not self._receiver.is_choosing():
            raise busy(
                f"the gateway's queue is {share:.0%} full, since more spans arrive than PandaProbe accepts",
                RETRY_FULL_S,
            )

    def take(self, read: Callable[[Allowance], Iterator[Found]]) -> Taken:
        """Pass the spans on to the pipeline and, with a spool, to disk.

        Raises RefusedError if the time was too short, or if all spans were rejected.
        """
        self.check_room()  # again, since other requests were accepted while this one waited
        deadline = self._monotonic() + _PATIENCE_S
        allowance = Allowance()
        rejections = Rejections()
        accepted = 0
        for spans in _slices(read(allowance), allowance, rejections):
            if not self._receiver.receive(spans, deadline):
                raise busy("the gateway is busy", RETRY_SLOW_S)
            accepted += len(spans)
        if rejections.count and not accepted:
            raise unreadable(f"no span of the request can be accepted: {rejections.message}")
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
