"""Reports, and two reports side by side, as one HTML file each: one script, no network access, everything escaped."""

from __future__ import annotations

import base64
import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any, Final

from pandaprobe_otel.evals.judging import counted
from pandaprobe_otel.evals.report import CaseResult, Report, case_table
from pandaprobe_otel.evals.report_comparison import CasePair, Comparison, TracePair, paired, sums
from pandaprobe_otel.evals.report_text import baseline_complaints, rate_line, totals
from pandaprobe_otel.evals.verdicts import Outcome
from pandaprobe_otel.mapping.clean import encode
from pandaprobe_otel.reporting.trace_links import page_of
from pandaprobe_otel.traces.comparison import SpanPair, diff_payloads
from pandaprobe_otel.traces.records import SpanRecord, TraceRecord
from pandaprobe_otel.traces.text import call_text, duration

_STYLE: Final = """
:root{color-scheme:light dark}a{color:#0b57c2}
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:72rem;padding:0 1rem;color:#1c1e21;background:#fff}
table{border-collapse:collapse;width:100%;margin:1rem 0}
th,td{text-align:left;padding:.3rem .6rem;border-bottom:1px solid #ddd}
.passed,.won,.improvement{color:#176639}.failed,.error,.lost,.regression{color:#a3151f}.no-evidence{color:#8a5a00}
details{margin:.3rem 0}summary{cursor:pointer}
pre{white-space:pre-wrap;overflow-wrap:anywhere;background:#f4f5f7;padding:.5rem;border-radius:4px;margin:.2rem 0}
.kind{display:inline-block;min-width:5.5rem;font-size:.8em;color:#555}.dim{color:#666}
section{border:1px solid #ddd;border-radius:6px;padding:.5rem 1rem;margin:1rem 0}
.away{display:none}nav label{margin-right:1rem}input[type=search]{font:inherit;padding:.2rem .5rem;min-width:18rem}
.pair{display:grid;grid-template-columns:1fr 1fr;gap:0 1rem;overflow-wrap:anywhere}
.pair.changed,.pair.left,.pair.right{border-left:4px solid #8a5a00;padding-left:.4rem;margin-left:-.6rem}
.pair.left{border-color:#a3151f}.pair.right{border-color:#176639}
del{background:#ffe3e3;color:#7a0f18}ins{background:#dcf5e4;color:#0f4d2a}del,ins{text-decoration:none;display:block}
@media(prefers-color-scheme:dark){body{background:#16181c;color:#e4e6ea}pre{background:#23262c}
a{color:#8ab8ff}th,td,section{border-color:#3a3e46}.passed,.won,.improvement{color:#6fd39b}
.failed,.error,.lost,.regression{color:#ff8d95}.no-evidence{color:#f0b95b}.kind,.dim{color:#a5abb5}
.pair.changed{border-color:#f0b95b}.pair.left{border-color:#ff8d95}.pair.right{border-color:#6fd39b}
del{background:#4a1d22;color:#ffb3b9}ins{background:#173b27;color:#9fe5bd}}
"""
_SCRIPT: Final = """
const box = document.getElementById("find"), told = document.getElementById("found"), texts = new Map();
const parts = [...document.querySelectorAll("[data-case]")];
for (const part of parts) {
  texts.set(part.dataset.case, (texts.get(part.dataset.case) ?? "") + " " + part.textContent.toLowerCase());
}
const search = () => {
  const wanted = box.value.trim().toLowerCase(), found = new Set();
  for (const part of parts) {
    const name = part.dataset.case, here = texts.get(name).includes(wanted);
    part.classList.toggle("away", !here);
    if (here) found.add(name);
  }
  told.textContent = wanted ? `${found.size} of ${texts.size}` : "";
};
document.getElementById("finder").hidden = false;
box.addEventListener("input", search);
search();
"""
_POLICY: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; script-src 'sha256-"
    f"{base64.b64encode(hashlib.sha256(_SCRIPT.encode()).digest()).decode()}'"
)


def page(title: str, body: Sequence[str]) -> str:
    """Return a whole page. `body` is HTML."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="content-security-policy" content="{_POLICY}"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width,initial-scale=1"><style>{_STYLE}</style></head><body>'
        f"{''.join(body)}<script>{_SCRIPT}</script></body></html>\n"
    )


def chooser(counts: Mapping[str, int]) -> str:
    """Return the search field, and a filter by `data-outcome` that works without a script.

    counts: the number of cases of each kind.
    """
    choices: list[str] = []
    rules: list[str] = []
    for kind, count in counts.items() if len(counts) > 1 else ():
        slug = slug_of(kind)
        choices.append(f"<label><input type=radio name=show id=only-{slug}> {escape(kind)} ({count})</label>")
        rules.append(f"body:has(#only-{slug}:checked) [data-outcome]:not([data-outcome={slug}]){{display:none}}")
    if choices:
        choices.insert(0, "show <label><input type=radio name=show checked> all</label>")
    return (
        f"<style>{''.join(rules)}</style><nav><p id=finder hidden><label>search "
        "<input type=search id=find></label><span id=found class=dim></span></p>"
        f"<p>{' '.join(choices)}</p></nav>"
    )


def slug_of(kind: str) -> str:
    """Return a kind as the name of a CSS class."""
    return kind.replace(" ", "-")


def json_field(name: str, value: Any) -> str:
    """Return a value with its name as a heading."""
    text = value if isinstance(value, str) else json.dumps(json.loads(encode(value)), indent=1, ensure_ascii=False)
    return f"<div class=dim>{name}</div><pre>{escape(text)}</pre>"


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


_STATES: Final = {
    Outcome.PASSED: "no regression",
    Outcome.FAILED: "a regression",
    Outcome.NO_EVIDENCE: "nothing to compare",
}
_WORDS: Final = {"left": "before only", "right": "now only"}


def comparison_page(before: Report, after: Report, comparison: Comparison) -> str:
    """Return a page with both runs: significant changes first, then the cases."""
    pairs = paired(before, after)
    state = comparison.outcome
    return page(
        f"{after.name}: before and now",
        [
            f"<h1>{escape(after.name)}: <span class={state.slug}>{_STATES[state]}</span></h1>",
            (
                f"<p class=dim>{escape(before.created_at)} ({escape(str(before.rate))}) → "
                f"{escape(after.created_at)} ({escape(str(after.rate))})</p>"
            ),
            _changes(comparison),
            *(f"<p>{escape(remark)}</p>" for remark in comparison.remarks),
            _sums(before, after),
            chooser(Counter(pair.kind for pair in pairs)),
            _table(pairs),
            *(_pair_of_cases(number, pair, before, after) for number, pair in enumerate(pairs)),
        ],
    )


def _changes(comparison: Comparison) -> str:
    rows = "".join(
        f"<tr><td>{escape(change.metric)}</td><td>{change.before:.2f}</td><td>{change.after:.2f}</td>"
        f"<td class={slug_of(change.change)}>{escape(change.verdict)}</td><td>{change.p:.3f}</td></tr>"
        for change in comparison.by_weight
    )
    head = "".join(f"<th>{name}</th>" for name in ("metric", "before", "now", "change", "p"))
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _sums(before: Report, after: Report) -> str:
    rows = "".join(
        f"<tr><td>{line.name}</td><td>{line.before}</td><td>{line.after}</td><td>{line.change}</td></tr>"
        for line in sums(before, after)
    )
    head = "".join(f"<th>{name}</th>" for name in ("sum", "before", "now", "change"))
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _table(pairs: Sequence[CasePair]) -> str:
    rows: list[str] = []
    for number, pair in enumerate(pairs):
        spans = sum(trace.differing for trace in pair.traces)
        told = counted(spans, "span") + f" differ{'' if spans > 1 else 's'}" if spans else ""
        rows.append(
            f"<tr data-outcome={pair.kind} data-case={number}>"
            f'<td><a href="#case-{number}">{escape(pair.id)}</a></td><td class={pair.kind}>{pair.kind}</td>'
            f"<td>{_outcome(pair.before)}</td><td>{_outcome(pair.after)}</td><td>{told}</td></tr>"
        )
    head = "".join(f"<th>{name}</th>" for name in ("case", "", "before", "now", "spans"))
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _pair_of_cases(number: int, pair: CasePair, before: Report, after: Report) -> str:
    body = [
        f'<section id="case-{number}" data-outcome={pair.kind} data-case={number}>',
        f"<h2>{escape(pair.id)} {_outcome(pair.before)} → {_outcome(pair.after)}</h2>",
        _value("input", *(None if case is None else case.input for case in (pair.before, pair.after))),
        _value("output", *(None if case is None else case.output for case in (pair.before, pair.after))),
        _cells(_results(pair.before), _results(pair.after)),
        *(_pair_of_traces(trace, before.trace_url, after.trace_url) for trace in pair.traces),
        "</section>",
    ]
    return "".join(body)


def _outcome(case: CaseResult | None) -> str:
    return "<span class=dim>none</span>" if case is None else f"<span class={case.outcome.slug}>{case.outcome}</span>"


def _results(case: CaseResult | None) -> str:
    if case is None:
        return ""
    error = f"<li class=error>{escape(case.error)}</li>" if case.error else ""
    said = (f"<li class={result.outcome.slug}>{escape(result.text)}</li>" for result in case.results)
    return f"<ul>{error}{''.join(said)}</ul>"


def _cells(left: str, right: str, change: str = "same") -> str:
    return f'<div class="pair {change}"><div>{left}</div><div>{right}</div></div>'


def _value(name: str, before: Any, after: Any) -> str:
    """Return a value as HTML, with the removed and added lines of a changed value."""
    if before == after:
        return json_field(name, after)
    lines = "".join(_line(line.side, line.text) for line in diff_payloads(before, after))
    return f"<div class=dim>{name}, changed</div><pre>{lines}</pre>"


def _line(side: str, text: str) -> str:
    if side == "both":
        return f"{escape(text)}\n"
    tag, sign = ("del", "-") if side == "left" else ("ins", "+")
    return f"<{tag}>{sign} {escape(text)}</{tag}>"


def _pair_of_traces(pair: TracePair, before_url: str | None, after_url: str | None) -> str:
    left, right = (
        "no trace" if trace is None else trace_name(trace, url)
        for trace, url in ((pair.before, before_url), (pair.after, after_url))
    )
    told = f"{counted(pair.differing, 'span')} of {len(pair.spans)} differ" if pair.differing else "no difference"
    rows = "".join(part for spans in pair.spans for part in _spans(spans))
    return f"<details{' open' if pair.differing else ''}><summary>{told}</summary>{_cells(left, right)}{rows}</details>"


def _spans(pair: SpanPair) -> Iterator[str]:
    mark = f" <em>{_WORDS[pair.change]}</em>" if pair.change in _WORDS else ""
    indent = f'<span style="padding-left:{1.2 * pair.depth:g}rem"></span>'
    left, right = ("" if span is None else f"{indent}{span_line(span)}{mark}" for span in (pair.before, pair.after))
    yield _cells(left, right, pair.change)
    if pair.before is not None and pair.after is not None and pair.fields:
        shown = (name for name in pair.fields if name != "order")  # A value that cannot occur.
        fields = "".join(_value(name, pair.before.body.get(name), pair.after.body.get(name)) for name in shown)
        yield f"<details><summary>{escape(', '.join(pair.fields))} changed</summary>{fields}</details>"
