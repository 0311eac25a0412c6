"""Traces as OTLP/JSON (opentelemetry-proto, `ExportTraceServiceRequest`).

Attributes have the names of OpenTelemetry's GenAI conventions, or else this library's own names. So any backend can
read the traces, and PandaProbe restores them unchanged.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from pandaprobe_otel.mapping import attributes as names

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_OPERATIONS: Final = {
    "AGENT": "invoke_agent",
    "TOOL": "execute_tool",
    "LLM": "chat",
    "EMBEDDING": "embeddings",
}
_STATUS_CODES: Final = {"UNSET": 0, "OK": 1, "ERROR": 2}
_INTERNAL: Final = 1
"""SpanKind.SPAN_KIND_INTERNAL."""


def otlp_json(traces: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return one export request with all spans of the traces, which have the form of GET /traces/{id}."""
    spans = [_span(trace, span) for trace in traces for span in trace["spans"]]
    scope = {"name": "pandaprobe-otel"}
    resource = {"attributes": _attributes({"service.name": "pandaprobe"})}
    return {"resourceSpans": [{"resource": resource, "scopeSpans": [{"scope": scope, "spans": spans}]}]}


def _span(trace: Mapping[str, Any], span: Mapping[str, Any]) -> dict[str, Any]:
    known = {each["span_id"] for each in trace["spans"]}
    parent = span["parent_span_id"] if span["parent_span_id"] in known else None
    attributes = {**_span_attributes(span), **({} if parent else _trace_attributes(trace))}
    message = {"message": span["error"]} if span["error"] else {}
    return {
        "traceId": _hex(trace["trace_id"]),
        "spanId": _hex(span["span_id"])[16:],
        **({"parentSpanId": _hex(parent)[16:]} if parent else {}),
        "name": span["name"],
        "kind": _INTERNAL,
        "startTimeUnixNano": str(_nanoseconds(span["started_at"])),
        "endTimeUnixNano": str(_nanoseconds(span["ended_at"] or span["started_at"])),
        "attributes": _attributes(attributes),
        "status": {"code": _STATUS_CODES.get(span["status"], 0), **message},
    }


def _span_attributes(span: Mapping[str, Any]) -> dict[str, Any]:
    usage: Mapping[str, Any] = span["token_usage"] or {}
    first_token = span["completion_start_time"]
    return {
        names.KIND: span["kind"],
        names.OPERATION_NAME: _OPERATIONS.get(span["kind"]),
        names.TOOL_NAME: span["name"] if span["kind"] == "TOOL" else None,
        names.AGENT_NAME: span["name"] if span["kind"] == "AGENT" else None,
        names.REQUEST_MODEL: span["model"],
        names.USAGE_INPUT_TOKENS: usage.get("prompt_tokens"),
        names.USAGE_OUTPUT_TOKENS: usage.get("completion_tokens"),
        names.MODEL: span["model"],
        names.INPUT: _json(span["input"]),
        names.OUTPUT: _json(span["output"]),
        names.TOKEN_USAGE: _json(span["token_usage"]),
        names.MODEL_PARAMETERS: _json(span["model_parameters"]),
        names.COST: _json(span["cost"]),
        names.SPAN_METADATA: _json(span["metadata"] or None),
        names.ERROR: span["error"],
        names.COMPLETION_START_TIME: _nanoseconds(first_token) if first_token else None,
    }


def _trace_attributes(trace: Mapping[str, Any]) -> dict[str, Any]:
    return {
        names.TRACE_NAME: trace["name"],
        names.TRACE_STATUS: trace["status"],
        names.TRACE_INPUT: _json(trace["input"]),
        names.TRACE_OUTPUT: _json(trace["output"]),
        names.METADATA: _json(trace["metadata"] or None),
        names.TAGS: trace["tags"] or None,
        names.SESSION_ID: trace["session_id"],
        names.USER_ID: trace["user_id"],
        names.ENVIRONMENT: trace["environment"],
        names.RELEASE: trace["release"],
    }


def _attributes(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value": _value(value)} for key, value in values.items() if value is not None]


def _value(value: str | int | Sequence[str]) -> dict[str, Any]:
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, str):
        return {"stringValue": value}
    return {"arrayValue": {"values": [{"stringValue": item} for item in value]}}


def _json(value: Any) -> str | None:
    return None if value is None else json.dumps(value, ensure_ascii=False)


def _hex(uuid: str) -> str:
    return uuid.replace("-", "")


def _nanoseconds(moment: str) -> int:
    # The server keeps microseconds. The sum of integers is exact, unlike a float of seconds.
    since = datetime.fromisoformat(moment) - _EPOCH
    return ((since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds) * 1000
