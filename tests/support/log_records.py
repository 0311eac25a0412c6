"""Log records as instrumentations emit them, with any version of OpenTelemetry."""

from __future__ import annotations

from inspect import signature
from typing import Any

from opentelemetry.context import get_current


def emit(logger: Any, event_name: str, body: object) -> None:
    """Emit an event within the current span; before version 1.37, the SDK accepts only a record."""
    if "event_name" in signature(logger.emit).parameters:
        logger.emit(event_name=event_name, body=body)
        return
    import opentelemetry.sdk._logs as sdk

    made: Any = sdk.LogRecord  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportPrivateImportUsage]
    logger.emit(made(event_name=event_name, body=body, context=get_current()))
