"""A span that is made in the end, when it is known that nobody else has made one of the same call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from opentelemetry.trace import INVALID_SPAN_CONTEXT, NonRecordingSpan, Span

from pandaprobe_otel_integrations._llm_span import CallWatch


class LateSpan(NonRecordingSpan):
    """Keeps what it is told for the span that `start` makes."""

    def __init__(self, start: Callable[[], Span], watch: CallWatch) -> None:
        super().__init__(INVALID_SPAN_CONTEXT)
        self._start = start
        self._watch = watch
        self._told: list[Callable[[Span], object]] = []

    def is_recording(self) -> bool:
        """It takes what it is told."""
        return True

    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        """As OpenTelemetry's."""
        self._told.append(lambda span: span.set_attributes(attributes))

    def set_attribute(self, key: str, value: Any) -> None:
        """As OpenTelemetry's."""
        self._told.append(lambda span: span.set_attribute(key, value))

    def set_status(self, status: Any, description: str | None = None) -> None:
        """As OpenTelemetry's."""
        self._told.append(lambda span: span.set_status(status, description))

    def record_exception(
        self,
        exception: BaseException,
        attributes: Any = None,
        timestamp: int | None = None,
        escaped: bool = False,
    ) -> None:
        """As OpenTelemetry's."""
        self._told.append(lambda span: span.record_exception(exception, attributes, timestamp, escaped))

    def add_event(self, name: str, attributes: Any = None, timestamp: int | None = None) -> None:
        """As OpenTelemetry's."""
        self._told.append(lambda span: span.add_event(name, attributes, timestamp))

    def end(self, end_time: int | None = None) -> None:
        """Make the span, where nobody else has."""
        if self._watch.is_recorded:
            return
        span = self._start()
        for tell in self._told:
            tell(span)
        span.end(end_time)
