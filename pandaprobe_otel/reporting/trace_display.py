"""Traces, spans and sessions as plain text and as HTML for notebooks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from pandaprobe_otel.mapping.outcomes import outcome_in
from pandaprobe_otel.reporting.markup import Markup, field, folded, joined, line, more, output, table, text
from pandaprobe_otel.reporting.trace_tree import by_depth, duration

_Body = Mapping[str, Any]

_MOST_SPANS: Final = 300
_MOST_CHARACTERS: Final = 400_000
"""Bound on all inputs and outputs of one display, shared by its spans."""
_LONGEST: Final = 4_000
_SHORTEST: Final = 200
_LINE: Final = 120


def trace_line(trace: _Body) -> str:
    """Return a trace in one line: name, status, time, spans, tokens, cost."""
    return "  ".join([_one_line(trace.get("name", "")), *_state(trace), *_facts(trace)])


def trace_text(trace: _Body) -> str:
    """Return a trace as indented lines for a terminal, one for each span."""
    lines = [f"trace {trace['trace_id']}  {trace_line(trace)}"]
    lines += [f"  {'  ' * depth}{_span_line(span)}" for depth, span in by_depth(_spans(trace), body=lambda span: span)]
    return "\n".join(lines)


def trace_html(trace: _Body) -> str:
    """Return a trace for a notebook: its facts, and the tree of its spans with their inputs and outputs."""
    return output(_trace_title(trace), _trace_facts(trace), _tree(trace, most=_each(_spans(trace))))


def span_html(span: _Body) -> str:
    """Return a span for a notebook."""
    return output(
        _span_summary(span),
        _span_content(span, most=_LONGEST),
        field("metadata", span.get("metadata") or None, most=_LONGEST),
    )


def spans_html(title: str, spans: Sequence[_Body]) -> str:
    """Return chosen spans for a notebook, in the given order."""
    most = _each(spans)
    shown = [folded(_span_summary(span), _span_content(span, most=most)) for span in spans[:_MOST_SPANS]]
    return output(text(title), *shown, more(len(spans), "spans", _MOST_SPANS))


def session_text(session: _Body) -> str:
    """Return a session as text: one line for the session, and one for each of its traces."""
    title = f"session {_one_line(session['session_id'])}  {session['trace_count']} traces"
    return "\n".join([title, *(f"  {trace_line(trace)}" for trace in session.get("traces", ()))])


def session_html(session: _Body) -> str:
    """Return a session for a notebook: its traces in order, each with its tree."""
    traces: Sequence[_Body] = session.get("traces", ())
    most = _each([span for trace in traces for span in _spans(trace)])
    turns = [folded(_trace_title(trace), _trace_facts(trace), _tree(trace, most=most)) for trace in traces]
    failed = text("with errors", "bad") if session.get("has_error") else Markup("")
    user = text(f"user {session['user_id']}", "dim") if session.get("user_id") else Markup("")
    facts = line(text(f"{session['trace_count']} traces", "dim"), user, failed)
    return output(joined((text("session "), text(session["session_id"]))), facts, *turns)


def rows_html(title: str, rows: Sequence[_Body], *, total: int | None = None) -> str:
    """Return rows of plain values for a notebook. Empty columns and nested values are left out."""
    names = dict.fromkeys(name for row in rows for name in row)
    columns = [name for name in names if any(_is_plain(row.get(name)) for row in rows)]
    cells = [[text("" if row.get(name) is None else _one_line(row[name])) for name in columns] for row in rows]
    count = f"{len(rows)} of {total}" if total is not None and total != len(rows) else str(len(rows))
    return output(text(f"{count} {title}"), table(columns, cells) if rows else Markup(""))


def _is_plain(value: Any) -> bool:
    return value is not None and not isinstance(value, Mapping) and value not in ([], ())


def _spans(trace: _Body) -> list[_Body]:
    return sorted(trace.get("spans") or (), key=lambda span: str(span["started_at"]))


def _each(spans: Sequence[_Body]) -> int:
    """Return the bound on the characters of each value that keeps all values within the total bound."""
    return max(min(_MOST_CHARACTERS // (3 * max(min(len(spans), _MOST_SPANS), 1)), _LONGEST), _SHORTEST)


def _tree(trace: _Body, *, most: int) -> Markup:
    spans = _spans(trace)
    shown = [
        folded(_span_summary(span), _span_content(span, most=most), indent=depth)
        for depth, span in list(by_depth(spans, body=lambda span: span))[:_MOST_SPANS]
    ]
    return joined([*shown, more(len(spans), "spans", _MOST_SPANS)])


def _trace_title(trace: _Body) -> Markup:
    state = " ".join(_state(trace))
    style = {"ERROR": "bad", "COMPLETED": "good"}.get(state, "unsure")
    return joined((text(_one_line(trace.get("name", ""))), text(state, style)), " ")


def _trace_facts(trace: _Body) -> Markup:
    named = {"session": trace.get("session_id"), "user": trace.get("user_id"), "release": trace.get("release")}
    facts = [*_facts(trace), *(f"{name} {value}" for name, value in named.items() if value), *trace.get("tags", ())]
    return line(*(text(_one_line(fact), "dim") for fact in facts), text(trace["trace_id"], "dim"))


def _state(body: _Body) -> list[str]:
    outcome = outcome_in(body)
    return [str(body.get("status", "")), *([] if outcome is None else [outcome.replace("_", " ")])]


def _facts(trace: _Body) -> list[str]:
    spans = _spans(trace)
    tokens = [_tokens(span) for span in spans]
    costs = [cost for span in spans if (cost := _cost(span)) is not None]
    facts = [duration(trace), f"{len(spans)} spans"] if trace.get("spans") is not None else [duration(trace)]
    if any(count is not None for count in tokens):
        facts.append(f"{sum(filter(None, tokens)):,} tokens")
    if costs:
        facts.append(f"${sum(costs):.4g}")
    return facts


def _cost(span: _Body) -> float | None:
    stated: Mapping[str, Any] = span.get("cost") or {}
    total = stated.get("total")
    return total if isinstance(total, int | float) else None


def _tokens(span: _Body) -> int | None:
    usage: Mapping[str, Any] = span.get("token_usage") or {}
    counts = [usage[name] for name in ("prompt_tokens", "completion_tokens") if isinstance(usage.get(name), int)]
    return sum(counts) if counts else None


def _span_facts(span: _Body) -> list[str]:
    tokens = _tokens(span)
    facts = [duration(span), span.get("model"), None if tokens is None else f"{tokens:,} tokens", outcome_in(span)]
    return [str(fact).replace("_", " ") if fact == outcome_in(span) else str(fact) for fact in facts if fact]


def _span_line(span: _Body) -> str:
    error = [f"ERROR {_one_line(span.get('error') or '')}".rstrip()] if span.get("status") == "ERROR" else []
    return "  ".join([f"{span['kind']:<5} {_one_line(span['name'])}", *map(_one_line, _span_facts(span)), *error])


def _span_summary(span: _Body) -> Markup:
    kind = str(span["kind"])
    failed = text(f"ERROR {_one_line(span.get('error') or '')}", "bad") if span.get("status") == "ERROR" else Markup("")
    style = kind.lower() if kind in ("AGENT", "LLM", "TOOL", "RETRIEVER", "EMBEDDING") else "dim"
    facts = text("  ".join(map(_one_line, _span_facts(span))), "dim")
    return joined((text(kind, style), text(_one_line(span["name"])), facts, failed), " ")


def _span_content(span: _Body, *, most: int) -> Markup:
    error = span.get("error") if span.get("status") == "ERROR" else None
    return joined(
        field(name, value, most=most)
        for name, value in (("input", span.get("input")), ("output", span.get("output")), ("error", error))
    )


def _one_line(value: Any) -> str:
    """Return a value as one short line, without control characters of a terminal."""
    shown = "".join(each for each in " ".join(str(value).split()) if each.isprintable())
    return shown if len(shown) <= _LINE else shown[: _LINE - 1] + "…"
