"""Two reports side by side, as one HTML file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from html import escape
from typing import Any, Final

from pandaprobe_otel.evals.html_page import chooser, json_field, page, slug_of
from pandaprobe_otel.evals.judging import counted
from pandaprobe_otel.evals.report import CaseResult, Report
from pandaprobe_otel.evals.report_comparison import Comparison
from pandaprobe_otel.evals.report_html import span_line, trace_name
from pandaprobe_otel.evals.side_by_side import CasePair, TracePair, paired
from pandaprobe_otel.evals.usage_totals import sums
from pandaprobe_otel.evals.verdicts import Outcome
from pandaprobe_otel.traces.comparison import SpanPair, diff_payloads

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
            *(_case(number, pair, before, after) for number, pair in enumerate(pairs)),
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


def _case(number: int, pair: CasePair, before: Report, after: Report) -> str:
    body = [
        f'<section id="case-{number}" data-outcome={pair.kind} data-case={number}>',
        f"<h2>{escape(pair.id)} {_outcome(pair.before)} → {_outcome(pair.after)}</h2>",
        _value("input", *(None if case is None else case.input for case in (pair.before, pair.after))),
        _value("output", *(None if case is None else case.output for case in (pair.before, pair.after))),
        _cells(_results(pair.before), _results(pair.after)),
        *(_trace(trace, before.trace_url, after.trace_url) for trace in pair.traces),
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


def _trace(pair: TracePair, before_url: str | None, after_url: str | None) -> str:
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
