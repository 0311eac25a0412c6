"""Traces in the form of the API, sent to a PandaProbe."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final
from uuid import uuid4

from pandaprobe_otel.api import Client

_COMPUTED: Final = ("total_tokens", "total_cost")
"""Fields of a stored trace that nobody sends."""


def send_traces(client: Client, traces: Iterable[Mapping[str, Any]]) -> list[str]:
    """Post traces, wait until they can be read, and return their ids."""
    ids: list[str] = []
    for trace in traces:
        client.traces.create(**{**_present(trace), "spans": list(map(_present, trace["spans"]))})
        ids.append(str(trace["trace_id"]))
    for trace_id in ids:
        client.traces.wait_visible(trace_id)
    return ids


def _present(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None and name not in _COMPUTED}


def with_new_ids(trace: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of the trace with new ids: ids are global, so another project cannot get the same ones."""
    new = {span["span_id"]: str(uuid4()) for span in trace["spans"]}
    spans = [
        {**span, "span_id": new[span["span_id"]], "parent_span_id": new.get(span["parent_span_id"])}
        for span in trace["spans"]
    ]
    return {**trace, "trace_id": str(uuid4()), "spans": spans}
