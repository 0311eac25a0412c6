"""Interface of pipelines, and the one that ignores every span."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from pandaprobe_otel.config.resolve import Config
from pandaprobe_otel.reporting.delivery_status import Status, described

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan


class Pipeline(Protocol):
    """Interface that processors, exporters and the object returned by `init` use."""

    @property
    def config(self) -> Config:
        """The settings."""
        ...

    @property
    def selection(self) -> Any:
        """The setting `spans`: the spans that are sent. None: no spans."""
        ...

    @property
    def destination(self) -> str | None:
        """Destination of traces: a URL or a file. None: traces are not sent."""
        ...

    def started(self, span: ReadableSpan) -> None:
        """Take note of a span that has started."""
        ...

    def ended(self, span: ReadableSpan) -> None:
        """Take over a span that has ended."""
        ...

    def logged(self, record: Any) -> None:
        """Take over a log record that carries content of a span."""
        ...

    def flush(self, timeout: float = 30.0) -> bool:
        """Deliver all complete traces within `timeout` seconds."""
        ...

    def shutdown(self, timeout: float | None = None) -> bool:
        """Deliver as much as possible, then stop."""
        ...

    @property
    def is_closed(self) -> bool:
        """True after `shutdown`."""
        ...

    def put_score(self, body: Mapping[str, Any]) -> None:
        """Send a score after its trace."""
        ...

    def trace_url(self, trace_id: str) -> str | None:
        """Return the address of a trace's page; None if it is not known."""
        ...

    def status(self) -> Status:
        """Return the current counts."""
        ...


class IdlePipeline:
    """Pipeline that ignores every span, because the settings disable it or cannot work."""

    selection: Any = None
    destination: str | None = None

    def __init__(self, config: Config) -> None:
        self.config = self._config = config

    def started(self, span: ReadableSpan) -> None:
        """Ignore the span."""

    def ended(self, span: ReadableSpan) -> None:
        """Ignore the span."""

    def logged(self, record: Any) -> None:
        """Ignore the record."""

    def flush(self, timeout: float = 30.0) -> bool:
        """Return True, because nothing waits."""
        return True

    def shutdown(self, timeout: float | None = None) -> bool:
        """Return True, because nothing waits."""
        return True

    @property
    def is_closed(self) -> bool:
        """Always False: there is nothing to close."""
        return False

    def put_score(self, body: Mapping[str, Any]) -> None:
        """Ignore the score."""

    def trace_url(self, trace_id: str) -> str | None:
        """Return None: nothing is sent anywhere."""
        return None

    def status(self) -> Status:
        """Return counts of zero, with the reason in `problems`."""
        return Status(enabled=False, **described(self._config))
