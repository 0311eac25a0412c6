"""Reports as one HTML file: no script, no network, everything escaped."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from html import escape
from typing import Any, Final

from pandaprobe_otel.evals.cache_use import cache_uses
from pandaprobe_otel.evals.report import CaseResult, Report, case_table
from pandaprobe_otel.evals.traces import SpanRecord, TraceRecord, walk
from pandaprobe_otel.evals.tree_text import call_text
from pandaprobe_otel.mapping.clean import encode
from pandaprobe_otel.reporting.trace_tree import duration

_STYLE: Final = """
:root{color-scheme:light dark}a{color:#0b57c2}
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:72rem;padding:0 1rem;color:#1c1e21;background:#fff}
table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.3rem .6rem;border-bottom:1px solid #ddd}
.passed{color:#176639}.failed,.error{color:#a3151f}.no-evidence{color:#8a5a00}
details{margin:.3rem 0}summary{cursor:pointer}
pre{white-space:pre-wrap;overflow-wrap:anywhere;background:#f4f5f7;padding:.5rem;border-radius:4px;margin:.2rem 0}
.kind{display:inline-block;min-width:5.5rem;font-size:.8em;color:#555}.dim{color:#666}
section{border:1px solid #ddd;border-radius:6px;padding:.5rem 1rem;margin:1rem 0}
@media(prefers-color-scheme:dark){body{background:#16181c;color:#e4e6ea}pre{background:#23262c}
a{color:#8ab8ff}th,td,section{border-color:#3a3e46}.passed{color:#6fd39b}.failed,.error{color:#ff8d95}
.no-evidence{color:#f0b95b}.kind,.dim{color:#a5abb5}}
"""


def html_page(report: Report) -> str:
    """Return the report as a page."""
    state = report.outcome
    notes = "".join(f"<p class=error>{escape(note)}</p>" for note in report.notes)
    notes += "".join(f"<p class=dim>{escape(str(use))}</p>" for use in cache_uses(report))
    cases = "".join(map(_case, range(len(report.cases)), report.cases))
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(report.name)}: {state}</title>'
        f'<meta name="viewport" content="width=device-width,initial-scale=1"><style>{_STYLE}</style></head><body>'
        f"<h1>{escape(report.name)}: <span class={state.slug}>{state}</span></h1>"
        f"<p>{escape(str(report.rate))} <span class=dim>{escape(report.created_at)}</span></p>{notes}"
        f"{_filter(report)}{html_table(report, links=True)}{cases}</body></html>\n"
    )


def _filter(report: Report) -> str:
    """Return the choice of what is shown: by style alone, since the page has no script."""
    counts = Counter(case.outcome for case in report.cases)
    if len(counts) < 2:
        return ""
    choices = ["<label><input type=radio name=show checked> all</label>"]
    rules: list[str] = []
    for outcome, count in counts.items():
        slug = outcome.slug
        choices.append(f"<label><input type=radio name=show id=only-{slug}> {outcome} ({count})</label>")
        rules.append(f"body:has(#only-{slug}:checked) [data-outcome]:not([data-outcome={slug}]){{display:none}}")
    return f"<style>{''.join(rules)}</style><p>show {' '.join(choices)}</p>"


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
        if number < len(report.cases):  # the last row has the means
            slug = report.cases[number].outcome.slug
            row, state = f" data-outcome={slug}", f" class={slug}"
        body.append(f"<tr{row}><td>{name}</td><td{state}>{escape(outcome)}</td>{plain}</tr>")
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>"


def _case(number: int, case: CaseResult) -> str:
    results = "".join(f"<li class={result.outcome.slug}>{escape(result.text)}</li>" for result in case.results)
    slug = case.outcome.slug
    error = f"<pre class=error>{escape(case.error)}</pre>" if case.error else ""
    expected = "" if case.expected is None else _field("expected", case.expected)
    return (
        f'<section id="case-{number}" data-outcome={slug}>'
        f"<h2>{escape(case.id)} <span class={slug}>{case.outcome}</span></h2>"
        f"{_field('input', case.input)}{_field('output', case.output)}{expected}{error}<ul>{results}</ul>"
        f"{''.join(map(_trace, case.traces))}</section>"
    )


def _trace(body: Mapping[str, Any]) -> str:
    trace = TraceRecord(body)
    spans = "".join(_span(depth, span) for depth, span in walk(trace))
    return f"<details open><summary>trace {escape(trace.trace_id)}</summary>{spans}</details>"


def _span(depth: int, span: SpanRecord) -> str:
    state = "error" if span.error is not None else "dim" if span.outcome is not None else "passed"
    error = "" if span.error is None else f"<pre class=error>{escape(span.error)}</pre>"
    tokens = "" if span.tokens is None else f"{span.tokens} tokens"
    facts = "  ".join(filter(None, (span.outcome, span.model, tokens, duration(span.body))))
    return (
        f'<details style="margin-left:{1.5 * depth:g}rem"><summary><span class=kind>{escape(span.kind)}</span>'
        f"<span class={state}>{escape(call_text(span))}</span> <span class=dim>{escape(facts)}</span></summary>"
        f"{_field('input', span.input)}{_field('output', span.output)}{error}</details>"
    )


def _field(name: str, value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(json.loads(encode(value)), indent=1, ensure_ascii=False)
    return f"<div class=dim>{name}</div><pre>{escape(text)}</pre>"
