"""Repair of a refused request by the field that the server names: drop the field, or else the span, never the trace."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Final, cast

import orjson

from pandaprobe_otel.delivery.outgoing_request import OutgoingRequest, Step
from pandaprobe_otel.errors import FieldError
from pandaprobe_otel.mapping.encoded_spans import EncodedSpans

MAX_REPAIRS: Final = 2
MARK: Final = "pandaprobe_otel.repaired"
"""Metadata key of a repair; its value is the names of the refused fields."""

_MAX_NAME: Final = 512
_SPAN_OPTIONAL: Final = frozenset(
    {"kind", "status", "input", "output", "model", "model_parameters", "token_usage", "cost", "metadata"}
    | {"parent_span_id", "ended_at", "error", "completion_start_time"}
)
_TRACE_OPTIONAL: Final = frozenset(
    {"status", "input", "output", "metadata", "ended_at", "session_id", "user_id", "tags", "environment", "release"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Repaired:
    """Request to send instead, and the number of spans that could not be repaired."""

    request: OutgoingRequest
    left_out: int


def repair(request: OutgoingRequest, errors: Iterable[FieldError]) -> Repaired | None:
    """Repair a request by the server's field errors; return None if they do not suffice.

    The server writes a path as `spans -> 1 -> name`, and as `1 -> name` for an append, whose body is a bare list
    (measured).
    """
    of_trace: set[str] = set()
    of_spans: defaultdict[int, set[str]] = defaultdict(set)
    places = {str(index): index for index in range(len(request.spans))}
    for error in errors:
        path = error.field.split(" -> ")
        if request.step is not Step.APPEND and path[0] != "spans":
            of_trace.add(path[0])
            continue
        path = path if request.step is Step.APPEND else path[1:]
        index = places.get(path[0]) if path else None
        if index is None or "JSON decode" in error.message:
            return None
        of_spans[index].add(path[1] if len(path) > 1 else "")
    fields = request.fields
    if of_trace:
        mended = _mend(orjson.loads(fields), of_trace, _TRACE_OPTIONAL)
        if mended is None:
            return None
        fields = mended
    spans = [_mend_span(span, of_spans.get(index)) for index, span in enumerate(request.spans)]
    kept = tuple(span for span in spans if span is not None)
    return Repaired(
        request=replace(request, fields=fields, spans=EncodedSpans.of(kept)), left_out=len(spans) - len(kept)
    )


def _mend_span(span: bytes, names: set[str] | None) -> bytes | None:
    if names is None:
        return span
    return _mend(orjson.loads(span), names, _SPAN_OPTIONAL)


def _mend(value: dict[str, Any], names: set[str], optional: frozenset[str]) -> bytes | None:
    """Return the object with a mark and without the refused fields; None if one of them is required."""
    metadata = value.get("metadata") if "metadata" not in names else None
    for name in names:
        if name == "name":
            value["name"] = str(value.get("name") or "unnamed")[:_MAX_NAME]
        elif name in optional:
            value.pop(name, None)
        else:
            return None
    kept = cast("dict[str, Any]", metadata) if isinstance(metadata, dict) else dict[str, Any]()
    value["metadata"] = {**kept, MARK: sorted(names)}
    return orjson.dumps(value)
