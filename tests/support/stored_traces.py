"""Traces as PandaProbe stores them, built span by span."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final
from uuid import NAMESPACE_OID, uuid5

from pandaprobe_otel.replay.capture.stored_trace import StoredTrace


def moment(seconds: float) -> str:
    """Return the time this many seconds after the trace began."""
    return f"2026-11-28T11:00:{seconds:09.6f}Z"


def identity(name: str) -> str:
    """Return the id of the span with this name."""
    return str(uuid5(NAMESPACE_OID, name))


ROOT: Final = identity("root")


def span(name: str, kind: str, start: float, end: float | None, **more: Any) -> dict[str, Any]:
    """Return a span below the root, whose id derives from its name and start."""
    return {
        "span_id": identity(f"{name}-{start}"),
        "parent_span_id": ROOT,
        "name": name,
        "kind": kind,
        "status": "OK",
        "metadata": {},
        "started_at": moment(start),
        "ended_at": None if end is None else moment(end),
        **more,
    }


def call(start: float, end: float, *, asked: Any = "Where?", said: Any = None, tools: Any = (), **more: Any) -> Any:
    """Return a model call: its question, its answer, and the tools that the model requests, as (name, arguments)."""
    messages = asked if isinstance(asked, list) else [{"role": "user", "content": asked}]
    calls = [
        {"id": f"{name}-{at}", "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}
        for at, (name, arguments) in enumerate(tools)
    ]
    answer = {"role": "assistant", "content": said, **({"tool_calls": calls} if calls else {})}
    metadata = {"provider": "openai", "finish_reasons": ["tool_calls" if calls else "stop"], **more.pop("metadata", {})}
    fields = {"input": {"messages": messages}, "output": {"messages": [answer]}, "model": "m-1", "metadata": metadata}
    return span("chat m-1", "LLM", start, end, **{**fields, **more})


def tool(name: str, start: float, end: float, arguments: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """Return a tool call."""
    return span(name, "TOOL", start, end, **{"input": dict(arguments), "output": "done", **more})


def trace(*spans: dict[str, Any], **root: Any) -> StoredTrace:
    """Return a trace with these spans below its root."""
    fields = {"input": "Where?", "output": "Here.", **root}
    top = {**span("answer", "AGENT", 0, 50), "span_id": ROOT, "parent_span_id": None, **fields}
    about = {"trace_id": "0f0c0000-0000-0000-0000-000000000000", "name": "answer", "started_at": moment(0)}
    return StoredTrace({**about, "spans": [top, *spans]})
