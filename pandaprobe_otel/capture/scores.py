"""`score()`: send a score for a trace, after the trace itself."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from pandaprobe_otel.capture.tracers import begin_first_use
from pandaprobe_otel.enums import ScoreDataType
from pandaprobe_otel.errors import FieldError, InvalidRequest
from pandaprobe_otel.process.forks import loading
from pandaprobe_otel.process.guard import mistake

if TYPE_CHECKING:
    from pandaprobe_otel.bootstrap import PandaProbe

_MAX_TEXT = 255
NO_TRACE: Final = UUID(int=0)
"""Placeholder while a score without a trace is checked."""


def score(
    trace_id: str | UUID | None,
    name: str,
    value: float | bool | str,
    *,
    data_type: str | ScoreDataType | None = None,
    reason: str | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Give a trace a score. Returns at once; the score is sent in the background, after the trace.

    `value` is a number between 0 and 1 (NUMERIC), True or False (BOOLEAN), or a label (CATEGORICAL). A text that is a
    number counts as NUMERIC if `data_type` says so, as in the official SDK. `trace_id` is the result of
    `current_trace_id()`. Outside of a trace, `trace_id` is None; then nothing is sent and one warning is logged.

    Raises:
        InvalidRequest: the score is invalid (out of range, empty name, no UUID); raised before anything is sent.
    """
    begin_first_use()
    with loading("pandaprobe_otel.bootstrap"):
        from pandaprobe_otel.bootstrap import current
    score_with(current(), trace_id, name, value, data_type=data_type, reason=reason, metadata=metadata)


def score_with(
    handle: PandaProbe | None, trace_id: str | UUID | None, name: str, value: float | bool | str, **options: Any
) -> None:
    """Check a score and send it with this handle. Warns about a score without a trace if traces are sent."""
    # Check it even without a trace, so that a test without a key finds an invalid score too.
    body = score_body(NO_TRACE if trace_id is None else trace_id, name, value, **options)
    if handle is None:
        return
    if trace_id is not None:
        handle.send_score(body)
    elif handle.enabled:
        mistake(
            f"the score {name!r} is not sent: its trace id is None, as current_trace_id() is outside of a trace. "
            "Call it inside the trace, and keep the id."
        )


def score_body(
    trace_id: str | UUID,
    name: str,
    value: float | bool | str,
    *,
    data_type: str | ScoreDataType | None = None,
    reason: str | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the JSON body of POST /evaluations/trace-scores, where the value is always text (measured)."""
    try:
        trace = str(UUID(str(trace_id)))
    except ValueError:
        raise _invalid("trace_id", f"{str(trace_id)[:80]!r} is not a UUID") from None
    if not name or len(name) > _MAX_TEXT:
        raise _invalid("name", f"must have 1 to {_MAX_TEXT} characters")
    kind = _kind_of(value) if data_type is None else _kind_named(str(data_type))
    body: dict[str, Any] = {
        "trace_id": trace,
        "name": name,
        "value": _value_text(value, kind),
        "data_type": kind.value,
        "source": "PROGRAMMATIC",  # the server's default ANNOTATION means a person
    }
    if reason is not None:
        body["reason"] = reason
    if metadata is not None:
        body["metadata"] = dict(metadata)
    return body


def _kind_of(value: float | bool | str) -> ScoreDataType:
    if isinstance(value, bool):
        return ScoreDataType.BOOLEAN
    return ScoreDataType.CATEGORICAL if isinstance(value, str) else ScoreDataType.NUMERIC


def _kind_named(name: str) -> ScoreDataType:
    try:
        return ScoreDataType(name)
    except ValueError:
        raise _invalid("data_type", f"must be one of {', '.join(ScoreDataType)}, not {name[:80]!r}") from None


def _value_text(value: float | bool | str, kind: ScoreDataType) -> str:
    if kind is ScoreDataType.BOOLEAN:
        text = str(value).lower()
        if text not in ("true", "false"):
            raise _invalid("value", f"{value!r} is neither true nor false")
        return text
    if kind is ScoreDataType.CATEGORICAL:
        text = str(value)
        if len(text) > _MAX_TEXT:
            raise _invalid("value", f"has more than {_MAX_TEXT} characters")
        return text
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    except (TypeError, ValueError):
        raise _invalid("value", f"{value!r:.80} is not a number") from None
    if not 0.0 <= number <= 1.0:
        raise _invalid("value", f"{number!r} is not between 0 and 1")
    return str(value)


def _invalid(field: str, message: str) -> InvalidRequest:
    return InvalidRequest(f"score: {field} {message}", errors=(FieldError(field, message),))
