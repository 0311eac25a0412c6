"""Changes to requests: smaller parts, no field or else no span that the server refused, and what traces report.

A trace itself is never dropped for what the server refused of it.

The weight of a sent trace is the number of traces for which it stands, so that counts can be scaled back; it is one
over `sample_rate`. The weight of a trace that is left out is added to the next trace of its kind: one that agrees in
being an error or not, and in being slow or the first of its name or neither. So the weights add up to the number of
traces. Drops for any reason are reported by the next trace.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, cast

import orjson

from pandaprobe_otel.delivery.parcel import Parcel, Step
from pandaprobe_otel.errors import FieldError
from pandaprobe_otel.mapping.encoded_spans import EncodedSpans

SAMPLE_RATE_KEY: Final = "pandaprobe_otel.sample_rate"
"""Metadata key for the share of traces of this kind that was sent, including sampling by `sample_rate`."""
_DROPPED_KEY: Final = "pandaprobe_otel.dropped"
_BY_WISH: Final = frozenset({"filtered", "sampled_out"})
"""Reasons for drops that a setting asks for; such drops are not losses."""

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


# -- reports of traces ------------------------------------------------------------------------------------------------


_Kind = tuple[bool, bool]


@dataclass(slots=True)
class _Carried:
    weight: float = 0.0
    """Weight of the trace in addition to that of its own probability."""
    dropped: Counter[str] = field(default_factory=Counter[str])


class AttachedMetadata:
    """The weights and drop counts that traces under way carry, or that later traces will carry. Not thread-safe: the
    policy calls it.
    """

    def __init__(self) -> None:
        self.unsent: dict[_Kind, float] = {}
        """Weights of dropped traces, which the next traces of their kinds will carry."""
        self.carried: dict[str, _Carried] = {}
        """Metadata of traces under way. An entry is removed when its trace is delivered."""
        self._reported: Counter[str] = Counter()

    def attach(self, parcel: Parcel, dropped: Mapping[str, int]) -> bytes | None:
        """Return the parcel's fields with its weight and the drop counts since the last report; None without either.

        A further attempt gets those of the first one, too.
        """
        new = {
            reason: count - self._reported[reason]
            for reason, count in dropped.items()
            if reason not in _BY_WISH and count > self._reported[reason]
        }
        unsent = self.unsent.pop(_kind(parcel), 0.0)
        if not (new or unsent or parcel.trace_id in self.carried):
            return None
        self._reported.update(new)
        carried = self.carried.setdefault(parcel.trace_id, _Carried())
        carried.dropped.update(new)
        carried.weight += unsent
        fields: dict[str, Any] = orjson.loads(parcel.fields)
        if carried.dropped:
            add_metadata(fields, _DROPPED_KEY, dict(carried.dropped))
        if carried.weight:
            add_metadata(fields, SAMPLE_RATE_KEY, 1.0 / (1.0 / parcel.sample_rate + carried.weight))
        return orjson.dumps(fields)

    def gone(self, parcel: Parcel) -> None:
        """Release the weight and the drop counts that a dropped trace carried, so that other traces carry them."""
        carried = self.carried.pop(parcel.trace_id, None)
        if carried is not None:
            self._reported.subtract(carried.dropped)
            if carried.weight:
                self._add(parcel, carried.weight)

    def evicted(self, parcel: Parcel) -> None:
        """Let the next trace of the same kind also stand for one that was dropped for lack of room."""
        self.gone(parcel)
        self._add(parcel, 1.0 / parcel.sample_rate)

    def _add(self, parcel: Parcel, traces: float) -> None:
        kind = _kind(parcel)
        self.unsent[kind] = self.unsent.get(kind, 0.0) + traces


def add_metadata(fields: dict[str, Any], key: str, value: object) -> None:
    """Add a value to the metadata of a trace or span."""
    metadata = fields.get("metadata")
    kept = cast("dict[str, Any]", metadata) if isinstance(metadata, dict) else {}
    fields["metadata"] = {**kept, key: value}


def _kind(parcel: Parcel) -> _Kind:
    return parcel.is_error, parcel.is_slow or parcel.is_first
