"""A span that is made only at its end, if nobody else has made one for the same call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from opentelemetry.trace import INVALID_SPAN_CONTEXT, NonRecordingSpan, Span

from pandaprobe_otel_integrations._llm_span import CallWatch


class LateSpan(NonRecordingSpan):
    """A buffer for attributes of the span that `start` makes."""

    def __init__(self, start: Callable[[], Span], watch: CallWatch) -> None:
        super().__init__(INVALID_SPAN_CONTEXT)
        self._start = start
        self._watch = watch
        self._told: list[Callable[[Span], object]] = []

    def is_recording(self) -> bool:
        """Return True: it accepts attributes."""
        return True

    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        """Keep the attributes."""
        self._told.append(lambda span: span.set_attributes(attributes))

    def set_attribute(self, key: str, value: Any) -> None:
        """Keep the attribute."""
        self._told.append(lambda span: span.set_attribute(key, value))

    def set_status(self, status: Any, description: str | None = None) -> None:
        """Keep the status."""
        self._told.append(lambda span: span.set_status(status, description))

    def record_exception(
        self,
        exception: BaseException,
        attributes: Any = None,
        timestamp: int | None = None,
        escaped: bool = False,
    ) -> None:
        """Keep the exception."""
        self._told.append(lambda span: span.record_exception(exception, attributes, timestamp, escaped))

    def add_event(self, name: str, attributes: Any = None, timestamp: int | None = None) -> None:
        """Keep the event."""
        self._told.append(lambda span: span.add_event(name, attributes, timestamp))

    def end(self, end_time: int | None = None) -> None:
        """Make the span, unless another one exists."""
        if self._watch.is_recorded:
            return
        span = self._start()
        for tell in self._told:
            tell(span)
        span.end(end_time)
