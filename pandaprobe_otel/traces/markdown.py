"""A trace or a part of it as Markdown, for an issue, a person or a model."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from pandaprobe_otel.traces.records import SpanRecord, TraceRecord
from pandaprobe_otel.traces.text import duration


def markdown(trace: TraceRecord, span: SpanRecord | None = None) -> str:
    """Return a trace, or one of its spans with its descendants, as a section of a Markdown document."""
    if span is None:
        blocks = [trace_heading(trace), *(span_block(one, one.depth) for one in trace.tree)]
    else:
        blocks = [part_heading(trace), *(span_block(one, one.depth - span.depth) for one in span.subtree)]
    return "".join(blocks).rstrip() + "\n"


def trace_heading(trace: TraceRecord) -> str:
    """Return the text above the spans of a whole trace."""
    body = trace.body
    status = body.get("status") if trace.outcome is None else f"{body.get('status')}, {trace.outcome}"
    lines = [f"# {_inline(trace.name)}", "", f"- trace `{trace.trace_id}`, {status}, started {body.get('started_at')}"]
    lines += [f"- took {duration(trace.length_ms)}"] if trace.spans else []
    for name, field in (("session", "session_id"), ("user", "user_id"), ("environment",) * 2, ("release",) * 2):
        if body.get(field):
            lines.append(f"- {name}: {_inline(body[field])}")
    if body.get("tags"):
        lines.append(f"- tags: {', '.join(map(_inline, body['tags']))}")
    if body.get("total_tokens") or body.get("total_cost"):
        lines.append(f"- {body.get('total_tokens')} tokens, ${body.get('total_cost') or 0:.6g}")
    return _joined([*lines, *_content("Input", body.get("input")), *_content("Output", body.get("output"))])


def part_heading(trace: TraceRecord) -> str:
    """Return the text above the spans of a part."""
    return _joined([f"# Part of trace {_inline(trace.name)} (`{trace.trace_id}`)"])


def span_block(span: SpanRecord, depth: int = 0) -> str:
    """Return one span without its descendants. `depth` sets the level of its heading."""
    lines = [f"{'#' * min(2 + depth, 6)} {span.kind} {_inline(span.name)} ({duration(span.duration_ms)})", ""]
    facts = [f"started +{duration(span.begin_ms)}"]
    if span.model:
        facts.append(f"model {_inline(span.model)}")
    if span.usage is not None:
        facts.append("{} → {} tokens".format(*span.usage))
    facts += ["**ERROR**"] if span.failed else []
    facts += [] if span.outcome is None else [f"**{span.outcome}**"]
    lines.append("- " + ", ".join(facts))
    if span.failed:
        lines += _content("Error", span.described_error or "ERROR")
    return _joined([*lines, *_content("Input", span.input), *_content("Output", span.output)])


def _joined(lines: list[str]) -> str:
    return "".join(f"{line}\n" for line in (*lines, ""))


def _content(title: str, value: Any) -> Iterator[str]:
    if value is None:
        return
    text = value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)
    # The fence is longer than any inside, so that content cannot end it.
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall(r"`+", text)), default=0))
    yield from ("", f"**{title}**", "", f"{fence}{'' if isinstance(value, str) else 'json'}", text, fence)


def _inline(text: Any) -> str:
    # An underscore within a word marks nothing.
    return re.sub(r"([\\`*{}\[\]<>#|]|(?<![^\W_])_|_(?![^\W_]))", r"\\\1", " ".join(str(text).split()))
