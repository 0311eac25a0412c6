"""Traces as plain text, for failure messages, with or without rich."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Final

from pandaprobe_otel.evals.traces import SpanRecord, TraceRecord, walk
from pandaprobe_otel.mapping.clean import encode
from pandaprobe_otel.reporting.trace_tree import duration

_WIDTH: Final = 60


def tree_text(traces: Iterable[TraceRecord]) -> str:
    """Return the traces as indented lines: kind, call, result, time, tokens, errors."""
    lines: list[str] = []
    for trace in traces:
        lines.append(f"trace {trace.trace_id}" + (f"  {trace.outcome.upper()}" if trace.outcome else ""))
        lines += [f"  {'  ' * depth}{span_line(span)}" for depth, span in walk(trace)]
    return "\n".join(lines) or "no trace was made"


def span_line(span: SpanRecord) -> str:
    """Return a span on one line."""
    parts = [f"{span.kind:<5} {call_text(span)}"]
    if span.error is not None:
        parts.append(f"ERROR {shortened(span.error)}")
    elif span.output is not None and span.kind in ("TOOL", "RETRIEVER"):
        parts.append(f"-> {value_text(span.output)}")
    if span.outcome is not None:
        parts.append(span.outcome.upper())
    if span.model:
        parts.append(span.model)
    if span.tokens is not None:
        parts.append(f"{span.tokens} tokens")
    parts.append(duration(span.body))
    return "  ".join(parts)


def call_text(span: SpanRecord) -> str:
    """Return a span as a call; a tool call has its arguments."""
    if span.kind not in ("TOOL", "RETRIEVER"):
        return span.name
    if span.arguments:
        return f"{span.name}({', '.join(f'{name}={value_text(value)}' for name, value in span.arguments.items())})"
    return f"{span.name}({'' if span.input is None else value_text(span.input)})"


def value_text(value: Any) -> str:
    """Return a value as short text."""
    if isinstance(value, str):
        return shortened(repr(value))
    if value is None or isinstance(value, bool | int | float):
        return repr(value)
    return shortened(json_text(value))


def json_text(value: Any) -> str:
    """Return a value as JSON on one line. Values without a JSON form become text."""
    return json.dumps(json.loads(encode(value)), ensure_ascii=False)


def plain_text(text: str) -> str:
    """Return a text without terminal control codes, such as colours, cursor movements and titles."""
    return "".join(each for each in text if each.isprintable() or each == "\n")


def shortened(text: str) -> str:
    """Return the beginning of a text, on one line."""
    text = " ".join(text.split())
    return text if len(text) <= _WIDTH else text[: _WIDTH - 1] + "…"
