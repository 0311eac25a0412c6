"""Traces in the form of the API, sent to a PandaProbe."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final
from uuid import uuid4

from pandaprobe_otel.api import Client

_TRACE: Final = ("trace_id", "name", "status", "input", "output", "metadata", "started_at", "ended_at", "session_id")
_MORE: Final = ("user_id", "tags", "environment", "release")
_SPAN: Final = ("span_id", "parent_span_id", "name", "kind", "status", "input", "output", "model", "token_usage")
_MORE_OF_SPAN: Final = ("metadata", "started_at", "ended_at", "error")


def send_traces(client: Client, traces: Iterable[Mapping[str, Any]]) -> list[str]:
    """Post traces, wait until they can be read, and return their ids."""
    ids: list[str] = []
    for trace in traces:
        body: dict[str, Any] = _chosen(trace, (*_TRACE, *_MORE))
        spans: list[Any] = [_chosen(span, (*_SPAN, *_MORE_OF_SPAN)) for span in trace["spans"]]
        client.traces.create(**body, spans=spans)
        ids.append(str(trace["trace_id"]))
    for trace_id in ids:
        client.traces.wait_visible(trace_id)
    return ids


def _chosen(values: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {name: values[name] for name in names if values.get(name) is not None}


def with_new_ids(trace: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of the trace with new ids: ids are global, so another project cannot get the same ones."""
    new = {span["span_id"]: str(uuid4()) for span in trace["spans"]}
    spans = [
        {**span, "span_id": new[span["span_id"]], "parent_span_id": new.get(span["parent_span_id"])}
        for span in trace["spans"]
    ]
    return {**trace, "trace_id": str(uuid4()), "spans": spans}
