"""Traces as text for terminals and failure messages."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Final

from pandaprobe_otel.mapping.clean import encode
from pandaprobe_otel.traces.records import SpanRecord, TraceRecord

_WIDTH: Final = 60
_LINE: Final = 120


def trace_line(trace: TraceRecord) -> str:
    """Return a trace in one line: name, status, time, spans, tokens, cost."""
    return "  ".join([one_line(trace.name), state_of(trace), *facts_of(trace)])


def trace_text(trace: TraceRecord) -> str:
    """Return a trace as indented lines, one for each span, below a line about the trace."""
    return "\n".join([f"trace {trace.trace_id}  {trace_line(trace)}", *_span_lines(trace)])


def tree_text(traces: Iterable[TraceRecord]) -> str:
    """Return the spans of a test's traces as indented lines."""
    lines: list[str] = []
    for trace in traces:
        lines.append(f"trace {trace.trace_id}" + (f"  {trace.outcome.upper()}" if trace.outcome else ""))
        lines += _span_lines(trace)
    return "\n".join(lines) or "no trace was made"


def span_line(span: SpanRecord) -> str:
    """Return a span on one line: kind, call, result, time, tokens, model, outcome."""
    parts = [f"{span.kind:<5} {call_text(span)}"]
    if span.failed:
        parts.append(f"ERROR {one_line(span.error_text)}".rstrip())
    elif span.output is not None and span.kind in ("TOOL", "RETRIEVER"):
        parts.append(f"-> {value_text(span.output)}")
    parts += span_facts(span)
    if span.outcome is not None:
        parts.append(span.outcome.upper())
    return "  ".join(parts)


def call_text(span: SpanRecord) -> str:
    """Return a span as a call; a tool call has its arguments."""
    name = one_line(span.name)
    if span.kind not in ("TOOL", "RETRIEVER"):
        return name
    if span.arguments:
        return f"{name}({', '.join(f'{one_line(key)}={value_text(value)}' for key, value in span.arguments.items())})"
    return f"{name}({'' if span.input is None else value_text(span.input)})"


def span_facts(span: SpanRecord) -> list[str]:
    """Return time, tokens and model of a span, as far as they are known."""
    tokens = [] if span.usage is None else ["{:,} → {:,} tokens".format(*span.usage)]
    return [duration(span.duration_ms), *tokens, *([one_line(span.model)] if span.model else [])]


def facts_of(trace: TraceRecord) -> list[str]:
    """Return time, number of spans, tokens and cost of a trace, as far as they are known."""
    facts = [duration(trace.duration_ms)]
    if trace.body.get("spans") is not None:
        facts.append(f"{len(trace.spans)} spans")
    if counts := [span.tokens for span in trace.spans if span.tokens is not None]:
        facts.append(f"{sum(counts):,} tokens")
    return facts if trace.cost is None else [*facts, f"${trace.cost:.4g}"]


def state_of(trace: TraceRecord) -> str:
    """Return status and outcome of a trace."""
    outcome = [] if trace.outcome is None else [trace.outcome.replace("_", " ")]
    return "  ".join([str(trace.body.get("status", "")), *outcome])


def duration(milliseconds: float | None) -> str:
    """Return a duration in the most readable unit, such as `12 ms` or `1.25 s`; `running` if it has no end."""
    if milliseconds is None:
        return "running"
    size = abs(milliseconds)
    if size == 0:
        return "0"
    if size < 1:
        return f"{milliseconds * 1000:.0f} µs"
    if size < 1000:
        return f"{milliseconds:.0f} ms"
    if size < 60_000:
        return f"{milliseconds / 1000:.2f} s"
    minutes, seconds = divmod(round(size / 1000), 60)
    hours, minutes = divmod(minutes, 60)
    sign = "-" if milliseconds < 0 else ""
    return sign + (f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {seconds:02d} s")


def value_text(value: Any) -> str:
    """Return a value as short text."""
    if isinstance(value, str):
        return shortened(repr(value))
    if value is None or isinstance(value, bool | int | float):
        return repr(value)
    return shortened(json_text(value))


def json_text(value: Any, indent: int | None = None) -> str:
    """Return a value as JSON, on one line unless there is an indent. Values without a JSON form become text."""
    return json.dumps(json.loads(encode(value)), ensure_ascii=False, indent=indent)


def whole_text(value: Any, indent: int | None = None) -> str:
    """Return a text unchanged, and any other value as JSON."""
    return value if isinstance(value, str) else json_text(value, indent)


def plain_text(text: str) -> str:
    """Return a text without terminal control codes, such as colours, cursor movements and titles."""
    return "".join(each for each in text if each.isprintable() or each == "\n")


def one_line(value: Any, most: int = _LINE) -> str:
    """Return a value as one short line without control codes."""
    shown = plain_text(" ".join(str(value).split()))
    return shown if len(shown) <= most else shown[: most - 1] + "…"


def shortened(text: str) -> str:
    """Return the beginning of a text, on one line."""
    return one_line(text, _WIDTH)


def _span_lines(trace: TraceRecord) -> list[str]:
    return [f"  {'  ' * span.depth}{span_line(span)}" for span in trace.tree]
