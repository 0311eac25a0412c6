"""A trace as Markdown: its tree, and the input and output of each step."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from pandaprobe_otel.mapping.outcomes import outcome_in
from pandaprobe_otel.reporting.trace_tree import duration


def markdown(trace: Mapping[str, Any]) -> str:
    """Return the trace, in the form of GET /traces/{id}, as a section of a Markdown document."""
    return "\n".join(_lines(trace))


def _lines(trace: Mapping[str, Any]) -> Iterator[str]:
    yield f"# {_inline(trace['name'])}"
    yield ""
    outcome = outcome_in(trace)
    status = trace["status"] if outcome is None else f"{trace['status']}, {outcome}"
    yield f"trace `{trace['trace_id']}`, {status}, started {trace['started_at']}"
    facts = (("session", "session_id"), ("user", "user_id"), ("environment", "environment"), ("release", "release"))
    for name, field in facts:
        if trace[field]:
            yield f"- {name}: {_inline(trace[field])}"
    if trace["tags"]:
        yield f"- tags: {', '.join(map(_inline, trace['tags']))}"
    if trace["total_tokens"] or trace["total_cost"]:
        yield f"- {trace['total_tokens']} tokens, ${trace['total_cost']:.6g}"
    yield from _content("Input", trace["input"])
    yield from _content("Output", trace["output"])
    for span, depth in _in_order(trace):
        yield from _span(span, depth)
    yield ""


def _in_order(trace: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], int]]:
    """Yield each span once in tree order, with its depth. Spans without a known parent are roots."""
    known = {span["span_id"] for span in trace["spans"]}
    children: dict[Any, list[Mapping[str, Any]]] = {}
    for span in trace["spans"]:
        parent = span["parent_span_id"]
        children.setdefault(parent if parent in known and parent != span["span_id"] else None, []).append(span)
    waiting = [(span, 0) for span in reversed(children.pop(None, []))]
    while waiting or children:
        if not waiting:  # The remaining spans form cycles, in which a span is its own ancestor.
            waiting = [(span, 0) for span in reversed(children.pop(next(iter(children))))]
        span, depth = waiting.pop()
        yield span, depth
        waiting.extend((child, depth + 1) for child in reversed(children.pop(span["span_id"], [])))


def _span(span: Mapping[str, Any], depth: int) -> Iterator[str]:
    yield ""
    yield f"{'#' * min(depth + 2, 6)} {span['kind']} {_inline(span['name'])} ({duration(span)})"
    usage: Mapping[str, Any] = span["token_usage"] or {}
    if span["model"] or usage:
        yield ""
        tokens = f"{usage.get('prompt_tokens', 0)} → {usage.get('completion_tokens', 0)} tokens" if usage else ""
        yield ", ".join(filter(None, (_inline(span["model"] or ""), tokens)))
    if (outcome := outcome_in(span)) is not None:
        yield from ("", f"**{outcome}**")
    if span["status"] == "ERROR":
        yield from _content("Error", span["error"] or "ERROR")
    yield from _content("Input", span["input"])
    yield from _content("Output", span["output"])


def _content(title: str, value: Any) -> Iterator[str]:
    if value is None:
        return
    text = value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)
    # The fence is longer than any inside, so that content cannot end it.
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall(r"`+", text)), default=0))
    yield from ("", f"**{title}**", "", f"{fence}{'' if isinstance(value, str) else 'json'}", text, fence)


def _inline(text: str) -> str:
    return re.sub(r"([\\`*_{}\[\]<>#|])", r"\\\1", " ".join(str(text).split()))
