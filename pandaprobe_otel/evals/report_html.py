"""A report as one HTML file."""

from __future__ import annotations

from collections import Counter
from html import escape

from pandaprobe_otel.evals.html_page import chooser, json_field, page
from pandaprobe_otel.evals.report import CaseResult, Report, case_table
from pandaprobe_otel.evals.report_text import baseline_complaints, rate_line, totals
from pandaprobe_otel.reporting.trace_links import page_of
from pandaprobe_otel.traces.records import SpanRecord, TraceRecord
from pandaprobe_otel.traces.text import call_text, duration


def html_page(report: Report) -> str:
    """Return the report as a page."""
    state = report.outcome
    return page(
        f"{report.name}: {state}",
        [
            f"<h1>{escape(report.name)}: <span class={state.slug}>{state}</span></h1>",
            (
                f"<p>{escape(rate_line(report))} <span class=dim>{escape(report.created_at)}, {escape(totals(report))}"
                "</span></p>"
            ),
            *(f"<p class=error>{escape(words)}</p>" for words in baseline_complaints(report)[:1]),
            *([] if report.comparison is None else [f"<pre>{escape(str(report.comparison))}</pre>"]),
            *(f"<p class=error>{escape(note)}</p>" for note in report.notes),
            *(f"<p class=dim>{escape(str(use))}</p>" for use in report.cache_uses),
            chooser(Counter(str(case.outcome) for case in report.cases)),
            html_table(report, links=True),
            *(_case(number, case, report.trace_url) for number, case in enumerate(report.cases)),
        ],
    )


def html_table(report: Report, *, links: bool = False) -> str:
    """Return the table of the cases."""
    header, rows = case_table(report)
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    body: list[str] = []
    for number, (first, outcome, *cells) in enumerate(rows):
        name = escape(first)
        if links and number < len(report.cases):
            name = f'<a href="#case-{number}">{name}</a>'
        plain = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        row = state = ""
        if number < len(report.cases):  # The last row has the means.
            slug = report.cases[number].outcome.slug
            row, state = f" data-outcome={slug} data-case={number}", f" class={slug}"
        body.append(f"<tr{row}><td>{name}</td><td{state}>{escape(outcome)}</td>{plain}</tr>")
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>"


def _case(number: int, case: CaseResult, trace_url: str | None) -> str:
    results = "".join(f"<li class={result.outcome.slug}>{escape(result.text)}</li>" for result in case.results)
    slug = case.outcome.slug
    error = f"<pre class=error>{escape(case.error)}</pre>" if case.error else ""
    expected = "" if case.expected is None else json_field("expected", case.expected)
    return (
        f'<section id="case-{number}" data-outcome={slug} data-case={number}>'
        f"<h2>{escape(case.id)} <span class={slug}>{case.outcome}</span></h2>"
        f"{json_field('input', case.input)}{json_field('output', case.output)}{expected}{error}<ul>{results}</ul>"
        f"{''.join(_trace(trace, trace_url) for trace in case.records)}</section>"
    )


def _trace(trace: TraceRecord, trace_url: str | None) -> str:
    spans = "".join(_span(span) for span in trace.tree)
    return f"<details open><summary>{trace_name(trace, trace_url)}</summary>{spans}</details>"


def trace_name(trace: TraceRecord, trace_url: str | None) -> str:
    """Return the id of a trace, as a link if the trace has a page."""
    name = escape(trace.trace_id)
    if address := page_of(trace.trace_id, trace_url):
        name = f'<a href="{escape(address)}">{name}</a>'
    return f"trace {name}"


def _span(span: SpanRecord) -> str:
    error = "" if span.error is None else f"<pre class=error>{escape(span.error)}</pre>"
    return (
        f'<details style="margin-left:{1.5 * span.depth:g}rem"><summary>{span_line(span)}</summary>'
        f"{json_field('input', span.input)}{json_field('output', span.output)}{error}</details>"
    )


def span_line(span: SpanRecord) -> str:
    """Return a span on one line: kind, call, and result."""
    state = "error" if span.error is not None else "dim" if span.outcome is not None else "passed"
    tokens = "" if span.tokens is None else f"{span.tokens} tokens"
    facts = "  ".join(filter(None, (span.outcome, span.model, tokens, duration(span))))
    return (
        f"<span class=kind>{escape(span.kind)}</span>"
        f"<span class={state}>{escape(call_text(span))}</span> <span class=dim>{escape(facts)}</span>"
    )
