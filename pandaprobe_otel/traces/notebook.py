"""Traces, spans and sessions as HTML for notebooks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from pandaprobe_otel.traces.markup import Markup, field, folded, joined, line, more, output, table, text
from pandaprobe_otel.traces.records import SpanRecord, TraceRecord
from pandaprobe_otel.traces.text import facts_of, one_line, span_facts, state_of

_MOST_SPANS: Final = 300
_MOST_CHARACTERS: Final = 400_000
"""Bound on all inputs and outputs of one display, shared by its spans."""
_LONGEST: Final = 4_000
_SHORTEST: Final = 200
_COLOURED: Final = ("AGENT", "LLM", "TOOL", "RETRIEVER", "EMBEDDING")


def trace_html(trace: TraceRecord) -> str:
    """Return a trace: its facts, and the tree of its spans with their inputs and outputs."""
    return output(_trace_title(trace), _trace_facts(trace), _tree(trace, most=_each(len(trace.spans))))


def span_html(span: SpanRecord) -> str:
    """Return a span."""
    return output(
        _span_summary(span),
        _span_content(span, most=_LONGEST),
        field("metadata", span.metadata or None, most=_LONGEST),
    )


def spans_html(title: str, spans: Sequence[SpanRecord]) -> str:
    """Return chosen spans in the given order."""
    most = _each(len(spans))
    shown = [folded(_span_summary(span), _span_content(span, most=most)) for span in spans[:_MOST_SPANS]]
    return output(text(title), *shown, more(len(spans), "spans", _MOST_SPANS))


def session_html(session: Mapping[str, Any]) -> str:
    """Return a session: its traces in order, each with its tree."""
    traces = [TraceRecord(trace) for trace in session.get("traces", ())]
    most = _each(sum(len(trace.spans) for trace in traces))
    turns = [folded(_trace_title(trace), _trace_facts(trace), _tree(trace, most=most)) for trace in traces]
    failed = text("with errors", "bad") if session.get("has_error") else Markup("")
    user = text(f"user {session['user_id']}", "dim") if session.get("user_id") else Markup("")
    facts = line(text(f"{session['trace_count']} traces", "dim"), user, failed)
    return output(joined((text("session "), text(session["session_id"]))), facts, *turns)


def rows_html(title: str, rows: Sequence[Mapping[str, Any]], *, total: int | None = None) -> str:
    """Return rows of plain values. Empty columns and nested values are left out."""
    names = dict.fromkeys(name for row in rows for name in row)
    columns = [name for name in names if any(_is_plain(row.get(name)) for row in rows)]
    cells = [[text("" if row.get(name) is None else one_line(row[name])) for name in columns] for row in rows]
    count = f"{len(rows)} of {total}" if total is not None and total != len(rows) else str(len(rows))
    return output(text(f"{count} {title}"), table(columns, cells) if rows else Markup(""))


def _is_plain(value: Any) -> bool:
    return value is not None and not isinstance(value, Mapping) and value not in ([], ())


def _each(spans: int) -> int:
    """Return the bound on the characters of each value that keeps all values within the total bound."""
    return max(min(_MOST_CHARACTERS // (3 * max(min(spans, _MOST_SPANS), 1)), _LONGEST), _SHORTEST)


def _tree(trace: TraceRecord, *, most: int) -> Markup:
    shown = [
        folded(_span_summary(span), _span_content(span, most=most), indent=span.depth)
        for span in trace.tree[:_MOST_SPANS]
    ]
    return joined([*shown, more(len(trace.tree), "spans", _MOST_SPANS)])


def _trace_title(trace: TraceRecord) -> Markup:
    state = state_of(trace)
    style = {"ERROR": "bad", "COMPLETED": "good"}.get(state, "unsure")
    return joined((text(one_line(trace.name)), text(state, style)), " ")


def _trace_facts(trace: TraceRecord) -> Markup:
    named = [(name, trace.body.get(field)) for name, field in (("session", "session_id"), ("user", "user_id"))]
    named.append(("release", trace.body.get("release")))
    facts = [*facts_of(trace), *(f"{name} {value}" for name, value in named if value), *trace.body.get("tags", ())]
    return line(*(text(one_line(fact), "dim") for fact in facts), text(trace.trace_id, "dim"))


def _span_summary(span: SpanRecord) -> Markup:
    failed = text(f"ERROR {one_line(span.error_text)}", "bad") if span.failed else Markup("")
    style = span.kind.lower() if span.kind in _COLOURED else "dim"
    facts = [*span_facts(span), *([] if span.outcome is None else [span.outcome.replace("_", " ")])]
    return joined((text(span.kind, style), text(one_line(span.name)), text("  ".join(facts), "dim"), failed), " ")


def _span_content(span: SpanRecord, *, most: int) -> Markup:
    shown = (("input", span.input), ("output", span.output), ("error", span.error_text or None))
    return joined(field(name, value, most=most) for name, value in shown)
