"""Drafts of open traces on disk, and the requests that the next process makes of them if this one dies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import orjson

from pandaprobe_otel.delivery.parcel import Parcel, Step
from pandaprobe_otel.mapping.encoded_spans import EncodedSpans

INCOMPLETE_KEY: Final = "pandaprobe_otel.incomplete"
INCOMPLETE: Final = "process died"


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """Change to the draft of one trace: further parcels, or (`replaces`) these in place of all earlier ones."""

    trace_id: str
    parcels: Sequence[Parcel] = ()
    is_open: bool = True
    """True if more of the trace was to come."""
    replaces: bool = False
    """True if the spans of the earlier parcels have become requests."""


def requests_of(drafted: Sequence[Parcel], *, is_open: bool) -> list[Parcel]:
    """Return the requests that deliver the drafted parcels of one trace.

    If the trace was open, it becomes an error, and so do the spans that had not ended.
    """
    fields: dict[str, Any] = {}
    spans: dict[str, dict[str, Any]] = {}  # a later form of a span replaces an earlier one
    scores = [parcel for parcel in drafted if parcel.step is Step.SCORE]
    for parcel in drafted:
        if parcel.step is not Step.SCORE:
            fields = _merged(fields, orjson.loads(parcel.fields), keeps_first=parcel.is_remote)
            spans |= {span["span_id"]: span for span in map(orjson.loads, parcel.spans)}
    last = max((span.get("ended_at") or span["started_at"] for span in spans.values()), default=None)
    if is_open:
        fields |= {"status": "ERROR", "metadata": {**(fields.get("metadata") or {}), INCOMPLETE_KEY: INCOMPLETE}}
        for span in spans.values():
            if not span.get("ended_at"):
                span |= {"status": "ERROR", "error": INCOMPLETE, "ended_at": last}
    steps = {parcel.step: parcel for parcel in drafted}
    whole = steps.get(Step.CREATE) or steps.get(Step.APPEND)
    requests: list[Parcel] = []
    if whole is not None:
        if whole.step is Step.CREATE:
            named = next(iter(spans.values()))
            fields = {"trace_id": whole.trace_id, "name": named["name"], "started_at": named["started_at"], **fields}
            fields["ended_at"] = fields.get("ended_at") or last
        encoded = orjson.dumps(fields) if whole.step is Step.CREATE or whole.is_remote else b"{}"
        joined = EncodedSpans.of(map(orjson.dumps, spans.values()))
        is_error = is_open or any(parcel.is_error for parcel in drafted)
        requests += replace(whole, fields=encoded, spans=joined, is_error=is_error).split()
    if Step.FINISH in steps and Step.CREATE not in steps:
        requests.append(replace(steps[Step.FINISH], fields=orjson.dumps(fields)))
    return requests + [replace(score) for score in scores]


def _merged(fields: dict[str, Any], newer: dict[str, Any], *, keeps_first: bool) -> dict[str, Any]:
    merged = {**fields, **{name: value for name, value in newer.items() if value or name not in fields}}
    if keeps_first:  # without the root, each part of a trace takes its name from another span
        merged |= {name: fields[name] for name in ("name", "input", "started_at") if name in fields}
    if "metadata" in fields and "metadata" in newer:
        merged["metadata"] = {**fields["metadata"], **newer["metadata"]}
    return merged
