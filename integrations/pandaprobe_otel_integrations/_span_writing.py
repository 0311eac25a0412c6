"""Writing attributes and status on spans, the same in every integration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opentelemetry.trace import Span, Status, StatusCode

from pandaprobe_otel.capture.recorded_exceptions import record_exception
from pandaprobe_otel.mapping.attributes import ERROR_TYPE
from pandaprobe_otel.mapping.outcomes import outcome_of


def present(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the attributes without None values."""
    return {name: value for name, value in attributes.items() if value is not None}


def fail(span: Span, kind: str, text: str) -> None:
    """Mark the span's work as failed. `kind` is a low-cardinality name of the failure, `text` its message."""
    span.set_attribute(ERROR_TYPE, kind)
    span.set_status(Status(StatusCode.ERROR, text))


def record_raised(span: Span, error: BaseException, *, with_content: bool) -> None:
    """Mark the span's work as ended with this exception, whose text may quote content.

    Cancellation is not a failure.
    """
    if with_content or outcome_of(error) is not None or not isinstance(error, Exception):
        record_exception(span, error)
    else:
        fail(span, type(error).__name__, type(error).__name__)


def record_ended(span: Span, error: BaseException, *, with_content: bool) -> None:
    """Record an exception as `record_raised` does, without a stack trace."""
    if not isinstance(error, Exception) or outcome_of(error) is not None:
        record_exception(span, error)
    else:
        kind = type(error).__qualname__
        fail(span, kind, str(error) if with_content else kind)
