"""Traces, spans and sessions as blocks, and as HTML for notebooks.

A notebook keeps its outputs in its file, so long values are cut, with a marker.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from pandaprobe_otel.traces.blocks import Block, Fold, Line, Table, Words, html, line, more, payload, quoted, text
from pandaprobe_otel.traces.records import SpanRecord, TraceRecord
from pandaprobe_otel.traces.text import call_text, facts_of, one_line, span_facts, state_of

_MOST_SPANS: Final = 300
_MOST_CHARACTERS: Final = 400_000
"""Bound on all inputs and outputs of one display, shared by its spans."""
_LONGEST: Final = 4_000
_SHORTEST: Final = 200
_COLOURED: Final = ("AGENT", "LLM", "TOOL", "RETRIEVER", "EMBEDDING")


def trace_html(trace: TraceRecord) -> str:
    """Return a trace: its facts, and the tree of its spans with their inputs and outputs."""
    return html(_trace_title(trace), [_trace_facts(trace), *tree_blocks(trace, most=_each(len(trace.spans)))])


def session_html(session: Mapping[str, Any]) -> str:
    """Return a session: its traces in order, each with its tree."""
    traces = [TraceRecord(trace) for trace in session.get("traces", ())]
    most = _each(sum(len(trace.spans) for trace in traces))
    turns = [Fold(_trace_title(trace), [_trace_facts(trace), *tree_blocks(trace, most=most)]) for trace in traces]
    failed = text("with errors", "bad") if session.get("has_error") else text("")
    user = text(f"user {session['user_id']}", "dim") if session.get("user_id") else text("")
    facts = line(text(f"{session['trace_count']} traces", "dim"), user, failed)
    return html([text(f"session {session['session_id']}")], [facts, *turns])


def rows_html(title: str, rows: Sequence[Mapping[str, Any]], *, total: int | None = None) -> str:
    """Return rows of plain values. Empty columns and nested values are left out."""
    names = dict.fromkeys(name for row in rows for name in row)
    columns = [name for name in names if any(_is_plain(row.get(name)) for row in rows)]
    cells = [[text("" if row.get(name) is None else one_line(row[name])) for name in columns] for row in rows]
    count = f"{len(rows)} of {total}" if total is not None and total != len(rows) else str(len(rows))
    return html([text(f"{count} {title}")], [Table(columns, cells)] if rows else [])


def tree_blocks(trace: TraceRecord, *, most: int, most_spans: int = _MOST_SPANS) -> list[Block]:
    """Return the tree of a trace, each value cut to `most` characters."""
    shown = [
        Fold(span_words(span), _span_content(span, most=most), indent=span.depth) for span in trace.tree[:most_spans]
    ]
    return [*shown, *more(len(trace.tree), "spans", most_spans)]


def span_words(span: SpanRecord) -> list[Words]:
    """Return a span on one line: kind, call, facts, and error."""
    failed = [text(f"ERROR {one_line(span.error_text)}", "bad")] if span.failed else []
    style = span.kind.lower() if span.kind in _COLOURED else "dim"
    facts = [*span_facts(span), *([] if span.outcome is None else [span.outcome.replace("_", " ")])]
    return [text(span.kind, style), quoted(call_text(span)), text("  ".join(facts), "dim"), *failed]


def _is_plain(value: Any) -> bool:
    return value is not None and not isinstance(value, Mapping) and value not in ([], ())


def _each(spans: int) -> int:
    """Return the bound on the characters of each value that keeps all values within the total bound."""
    return max(min(_MOST_CHARACTERS // (3 * max(min(spans, _MOST_SPANS), 1)), _LONGEST), _SHORTEST)


def _trace_title(trace: TraceRecord) -> list[Words]:
    state = state_of(trace)
    return [quoted(one_line(trace.name)), text(state, {"ERROR": "bad", "COMPLETED": "good"}.get(state, "unsure"))]


def _trace_facts(trace: TraceRecord) -> Line:
    named = [(name, trace.body.get(field)) for name, field in (("session", "session_id"), ("user", "user_id"))]
    named.append(("release", trace.body.get("release")))
    facts = [*facts_of(trace), *(f"{name} {value}" for name, value in named if value), *trace.body.get("tags", ())]
    return line(*(text(one_line(fact), "dim") for fact in facts), text(trace.trace_id, "dim"))


def _span_content(span: SpanRecord, *, most: int) -> list[Block]:
    shown: Iterable[tuple[str, Any]] = (
        ("input", span.input),
        ("output", span.output),
        ("error", span.error_text or None),
    )
    return [block for name, value in shown for block in payload(name, value, most=most)]
