"""Exceptions that leave a span, and their record on it."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from itertools import islice
from typing import Any, Final, cast

from opentelemetry.trace import Span, StatusCode

from pandaprobe_otel.mapping import attributes as names
from pandaprobe_otel.mapping.outcomes import outcome_of
from pandaprobe_otel.mapping.text import cut_text
from pandaprobe_otel.process.guard import counted

MAX_MESSAGE_CHARS: Final = 16_384
MAX_FRAMES: Final = 50
"""Bound on recorded frames, innermost first. Without it, an error that leaves n nested spans would cost n²."""
MAX_GROUPED: Final = 10
"""Bound on the named exceptions of a group; a group's own text gives only their number."""


def record_exception(span: Span, error: BaseException) -> None:
    """Record the meaning of an exception for the work of the span.

    An error sets the status ERROR, an `exception` event and `error.type`. The end of an iteration means nothing. The
    others only set `pandaprobe.outcome`: cancellation from outside, closing a stream early, and exceptions with which a
    framework waits for a person.
    """
    if isinstance(error, (StopIteration, StopAsyncIteration)):
        return
    if (outcome := outcome_of(error)) is not None:
        if outcome:
            span.set_attribute(names.OUTCOME, outcome)
        return
    kind, message = kind_and_message(error)
    span.set_attribute(names.ERROR_TYPE, kind)
    span.add_event(
        "exception",
        {
            "exception.type": kind,
            "exception.message": message,
            "exception.stacktrace": _stack_trace(error),
            "exception.escaped": "True",
        },
    )
    span.set_status(StatusCode.ERROR, f"{kind}: {message}")


def kind_and_message(error: BaseException) -> tuple[str, str]:
    """Return the qualified name of the exception's class, and its text with its notes."""
    return _qualified_name(type(error)), _message(error)


def _qualified_name(kind: type) -> str:
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _message(error: BaseException) -> str:
    try:
        text = "\n".join(_lines(error))
    except Exception as fault:  # noqa: BLE001 - the exception's own `__str__` ran; the placeholder tells of it
        counted("the text of an exception", fault)
        return f"<{type(error).__name__}: cannot be shown>"
    if len(text) <= MAX_MESSAGE_CHARS:
        return text
    return cut_text(text, MAX_MESSAGE_CHARS)


def _lines(error: BaseException) -> Iterator[str]:
    yield str(error)
    notes: Any = getattr(error, "__notes__", None)
    if isinstance(notes, list):
        yield from (note for note in cast("list[object]", notes) if isinstance(note, str))
    if isinstance(error, BaseExceptionGroup):
        for inner in islice(_members(cast("BaseExceptionGroup[BaseException]", error)), MAX_GROUPED):
            yield f"{_qualified_name(type(inner))}: {inner}"


def _members(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    """Yield the exceptions inside a group and inside its nested groups."""
    open_ = [iter(group.exceptions)]
    while open_:
        inner = next(open_[-1], None)
        if inner is None:
            open_.pop()
        elif isinstance(inner, BaseExceptionGroup):
            open_.append(iter(cast("BaseExceptionGroup[BaseException]", inner).exceptions))
        else:
            yield inner


def _stack_trace(error: BaseException) -> str:
    try:
        return "".join(traceback.format_exception(error, limit=-MAX_FRAMES))
    except Exception as fault:  # noqa: BLE001 - code of the user's exception ran; the placeholder tells of it
        counted("the stack trace of an exception", fault)
        return "<the stack trace cannot be shown>"
