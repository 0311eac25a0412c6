"""Changes to a refused request: parts with smaller bodies, or no field, or else no span, that the server names.

The trace itself is never dropped for them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Final, cast

import orjson

from pandaprobe_otel.delivery.parcel import Parcel, Step
from pandaprobe_otel.delivery.sampling import add_metadata
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

SMALLEST_CAP: Final = 16 * 1024
"""Bytes below which a body is not made smaller, because a refusal is not about its size."""
_CUT_MARK: Final = "…[cut {} bytes: the server accepts no larger body]"
_CUTTABLE: Final = ("input", "output", "metadata", "model_parameters", "error")


def repair(parcel: Parcel, errors: Iterable[FieldError]) -> Parcel | None:
    """Repair a request by the server's field errors; return None if they do not suffice.

    A span that cannot be repaired is left out.

    The server writes a path as `spans -> 1 -> name`, and as `1 -> name` for an append, whose body is a bare list
    (measured).
    """
    of_trace: set[str] = set()
    of_spans: defaultdict[int, set[str]] = defaultdict(set)
    places = {str(index): index for index in range(len(parcel.spans))}
    for error in errors:
        path = error.field.split(" -> ")
        if parcel.step is not Step.APPEND and path[0] != "spans":
            of_trace.add(path[0])
            continue
        path = path if parcel.step is Step.APPEND else path[1:]
        index = places.get(path[0]) if path else None
        if index is None or "JSON decode" in error.message:
            return None
        of_spans[index].add(path[1] if len(path) > 1 else "")
    fields = parcel.fields
    if of_trace:
        mended = _mend(orjson.loads(fields), of_trace, _TRACE_OPTIONAL)
        if mended is None:
            return None
        fields = mended
    spans = [
        _mend(orjson.loads(span), of_spans[index], _SPAN_OPTIONAL) if index in of_spans else span
        for index, span in enumerate(parcel.spans)
    ]
    return replace(parcel, fields=fields, spans=EncodedSpans.of(span for span in spans if span is not None))


def _mend(value: dict[str, Any], names: set[str], optional: frozenset[str]) -> bytes | None:
    """Return the object with a mark and without the refused fields; None if one of them is required."""
    metadata = value.get("metadata")
    earlier = cast("dict[str, object]", metadata).get(MARK) if isinstance(metadata, dict) else None
    for name in names:
        if name == "name":
            value["name"] = str(value.get("name") or "unnamed")[:_MAX_NAME]
        elif name in optional:
            value.pop(name, None)
        else:
            return None
    before = cast("list[object]", earlier) if isinstance(earlier, list) else []
    add_metadata(value, MARK, [*before, *sorted(names)])
    return orjson.dumps(value)


def fit(parcel: Parcel, cap: int) -> tuple[Parcel, ...]:
    """Return the request in parts whose bodies have at most `cap` bytes: one request of its kind, then appends.

    A larger single span loses text of its largest fields, and a mark gives the number of bytes.
    """
    fields = _cut(parcel.fields, cap // 2) if len(parcel.fields) > cap // 2 else parcel.fields
    room = cap - len(fields) - 16
    groups: list[list[bytes]] = [[]]
    used = 0
    for span in parcel.spans:
        most = room if len(parcel.spans) == 1 else cap - 16
        span = _cut(span, most) if len(span) > most else span
        # The trace's own fields are part of the first request, and may leave no room for a span.
        may_end = groups[-1] or (len(groups) == 1 and len(parcel.spans) > 1)
        if may_end and used + len(span) + 1 > room:
            groups.append([])
            used, room = 0, cap - 16
        groups[-1].append(span)
        used += len(span) + 1
    first = replace(parcel, fields=fields, spans=EncodedSpans.of(groups[0]))
    return (
        first,
        *(replace(parcel, step=Step.APPEND, fields=fields, spans=EncodedSpans.of(group)) for group in groups[1:]),
    )


def _cut(encoded: bytes, cap: int) -> bytes:
    """Return the JSON object in at most `cap` bytes, with its largest fields replaced by the start of their text."""
    value: dict[str, Any] = orjson.loads(encoded)
    sizes = sorted(((len(orjson.dumps(value[name])), name) for name in _CUTTABLE if name in value), reverse=True)
    excess = len(encoded) - cap
    for size, name in sizes:
        if excess <= 0:
            break
        keep = max(size - excess - 128, 256)
        if keep >= size:
            continue
        text = value[name] if isinstance(value[name], str) else orjson.dumps(value[name]).decode()
        shown = text.encode()[:keep].decode("utf-8", "ignore")
        cut = _CUT_MARK.format(len(text.encode()) - len(shown.encode()))
        value[name] = {"cut": shown + cut} if name in ("metadata", "model_parameters") else shown + cut
        excess -= size - len(orjson.dumps(value[name]))
    return orjson.dumps(value)
