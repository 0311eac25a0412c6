"""Reports, comparisons and judge measurements as blocks, from which every form is written.

A terminal, a comment on a pull request, a notebook and a page show the same, cut to their room.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from pandaprobe_otel.evals.judging import counted
from pandaprobe_otel.evals.report import CaseResult, Report
from pandaprobe_otel.evals.report_comparison import CasePair, Comparison, paired, sums
from pandaprobe_otel.evals.verdicts import MetricResult, Outcome
from pandaprobe_otel.reporting.trace_links import page_of
from pandaprobe_otel.traces.blocks import (
    Block,
    Fold,
    Payload,
    Table,
    Words,
    html,
    line,
    lines_of,
    markdown,
    more,
    page,
    payload,
    quoted,
    text,
)
from pandaprobe_otel.traces.comparison import SpanPair, diff_payloads
from pandaprobe_otel.traces.notebook import span_words, tree_blocks
from pandaprobe_otel.traces.text import tree_text

if TYPE_CHECKING:
    from pandaprobe_otel.evals.judge_quality import JudgeQuality
    from pandaprobe_otel.traces.records import SpanRecord

Trees = Literal["failed", "all", "none"]

_TICKS: Final = {Outcome.PASSED: "✔", Outcome.FAILED: "✘", Outcome.NO_EVIDENCE: "?"}
_STYLES: Final = {Outcome.PASSED: "good", Outcome.FAILED: "bad", Outcome.NO_EVIDENCE: "unsure"}
_OF_CHANGES: Final = {"regression": "bad", "improvement": "good", "too few cases to tell": "unsure"}
_OF_KINDS: Final = {"lost": "bad", "won": "good"}
_OF_SIDES: Final = {"left": ("- ", "bad"), "right": ("+ ", "good"), "both": ("  ", "")}
_MOST_CASES: Final = 10
_MOST_CHARACTERS: Final = 2_000
_MOST_IN_TEXT: Final = 240
_WIDTH: Final = 120
_MOST_LINES: Final = 60
"""Maximum number of lines of a case's traces in text, unless all are requested."""
_MOST_ROWS: Final = 30
"""Maximum number of rows of a table or list in a comment."""
_MOST_REASONS: Final = 3
_MOST_NAMES: Final = 10
_ROOM: Final = 65_000
"""Maximum number of characters of a comment; GitHub allows 65,536."""
_NO_ROOM: Final = "The rest does not fit into a comment."
_ALL: Final = 1 << 24
_MOST_OF_KEY: Final = 80


# -- lines ------------------------------------------------------------------------------------------------------------


def baseline_complaints(report: Report) -> list[str]:
    """Return the reason why the comparison with the baseline did not pass, on one line, and then the details."""
    found = report.comparison
    if found is None or found.outcome is Outcome.PASSED:
        return []
    if found.outcome is Outcome.NO_EVIDENCE:
        return ["no common case has evidence in both this run and the baseline"]
    worse = ", ".join(change.metric for change in found.regressions)
    return [f"worse than the baseline: {worse}", *map(str, found.regressions)]


def complaints(case: CaseResult) -> list[str]:
    """Return the reasons why a case did not pass, one per line."""
    if case.passed:
        return []
    said = [case.error] if case.error else []
    said += [result.text for result in case.results if not result.passed]
    return said or ["no metric was judged"]


# -- a report ---------------------------------------------------------------------------------------------------------


def _title(report: Report) -> list[Words]:
    return [text(_TICKS[report.outcome], _STYLES[report.outcome]), quoted(report.name), _outcome(report.outcome)]


def _verdict(report: Report) -> list[Block]:
    """Return the comparison with the baseline, and the rate, the required rate and the totals on one line."""
    compared = [] if report.comparison is None else comparison_blocks(report.comparison)
    wanted = "" if report.pass_rate == 1.0 else f", {report.pass_rate:.0%} required"
    totals = [counted(len(report.cases), "case"), counted(sum(len(case.traces) for case in report.cases), "trace")]
    totals += [f"{report.tokens:,} tokens"] if report.tokens is not None else []
    totals += [f"${report.cost:.4g}"] if report.cost is not None else []
    totals += [f"{sum(case.seconds for case in report.cases):.1f} s"]
    rate = text(f"{report.outcome}: {report.rate}{wanted}", _STYLES[report.outcome])
    worse = (line(quoted(words, "bad")) for words in baseline_complaints(report)[:1])
    return [*compared, *worse, line(rate, text(", ".join(totals), "dim"))]


def _table(report: Report, *, has_links: bool = False) -> Table:
    """Return the table of the cases, with the means in the last row."""
    rows: list[list[Words]] = []
    for number, case in enumerate(report.cases):
        cells = [_cell(case.result(metric)) for metric in report.metrics]
        name = quoted(case.id, link=f"#case-{number}" if has_links else None)
        rows.append([name, _outcome(case.outcome), *cells, text(f"{case.seconds:.2f}")])
    means = [text(f"{report.means[metric]:.2f}" if metric in report.means else "") for metric in report.metrics]
    rows.append([text("mean"), text(f"{report.rate.passed}/{report.rate.total}"), *means, text("")])
    return Table(["case", "outcome", *report.metrics, "seconds"], rows)


def _notes(report: Report) -> list[Block]:
    return [line(text("note:"), quoted(note, "unsure")) for note in report.notes]


def _name(case: CaseResult) -> list[Words]:
    return [text(_TICKS[case.outcome], _STYLES[case.outcome]), quoted(case.id), _outcome(case.outcome)]


def _reasons(case: CaseResult) -> list[Block]:
    return [line(quoted(words)) for words in complaints(case)]


def _content(case: CaseResult, *, most: int | None = None) -> list[Block]:
    shown = (("input", case.input), ("output", case.output), ("expected", case.expected))
    return [block for name, value in shown for block in payload(name, value, most=most)]


def report_text(report: Report, trees: Trees = "none", *, width: int | None = None, has_colours: bool = False) -> str:
    """Return the report for a terminal: the table, the cases that did not pass with their traces, and the verdict.

    trees: the cases whose traces are shown. width: that of the table. Default: the terminal's.
    """
    width = width or shutil.get_terminal_size((100, 24)).columns
    shown = [case for case in report.cases if trees == "all" or not case.passed]
    most = len(shown) if trees == "all" else _MOST_CASES
    folds = [
        Fold(_name(case), [*_reasons(case), *_content(case, most=_MOST_IN_TEXT), *_trees(case, report, trees)])
        for case in shown[:most]
    ]
    rest = more(len(shown), "cases: shown with --tree all or --report", most)
    blocks = [_table(report), *folds, *rest, *_notes(report), *_verdict(report)]
    return "\n".join(lines_of(blocks, width=width, has_colours=has_colours))


def _trees(case: CaseResult, report: Report, trees: Trees) -> Iterator[Block]:
    left = _MOST_LINES if trees == "failed" else 1 << 30
    for trace in case.records if trees != "none" else ():
        lines = tree_text([trace]).splitlines()
        yield from (line(text(each, "dim")) for each in lines[:left])
        yield from more(len(lines), "spans: shown with --tree all or --report", left)
        left = max(left - len(lines), 1)  # the first line of each trace
        if address := page_of(trace.trace_id, report.trace_url):
            yield line(text(address))


def report_html(report: Report) -> str:
    """Return the report for a notebook: the verdict, the table, and the cases that did not pass."""
    bad = [case for case in report.cases if not case.passed]
    folds = [Fold(_name(case), [*_reasons(case), *_content(case, most=_MOST_CHARACTERS)]) for case in bad]
    rest = more(len(bad), "cases did not pass", _MOST_CASES)
    return html(_title(report), [*_verdict(report), _table(report), *folds[:_MOST_CASES], *rest, *_notes(report)])


def report_page(report: Report) -> str:
    """Return the report as a page, with the traces of all cases. Those that did not pass are open."""
    folds: list[Block] = []
    for number, case in enumerate(report.cases):
        error = [] if case.error is None else [line(quoted(case.error, "bad"))]
        results = (line(quoted(result.text, _STYLES[result.outcome])) for result in case.results)
        traces = (
            Fold(
                [_trace(trace.trace_id, report.trace_url)], tree_blocks(trace, most=_ALL, most_spans=_ALL), is_open=True
            )
            for trace in case.records
        )
        inside = [*error, *results, *_content(case), *traces]
        folds.append(Fold(_name(case), inside, is_open=not case.passed, anchor=f"case-{number}"))
    head = [line(text(report.created_at, "dim")), *_verdict(report), *_notes(report)]
    return page(_title(report), [*head, _table(report, has_links=True), *folds])


def report_markdown(report: Report) -> str:
    """Return the report as Markdown, for a job summary: all cases, and the reasons of those that did not pass."""
    most = len(report.cases)
    blocks = [*_verdict(report), _table(report), *_not_passed(report, most), *_notes(report)]
    return "\n\n".join(markdown(_title(report), blocks, most_rows=most + 1)) + "\n"


def comment(report: Report, *, key: str, before: Report | None = None, links: Mapping[str, str] | None = None) -> str:
    """Return the comment on a pull request. Texts of agents and judges appear as code, which cannot mention anybody.

    before: the baseline, which counts for the verdict. links: addresses by name.
    """
    report = report if before is None else report.against(before)
    blocks = [
        line(*(text(name, link=url) for name, url in (links or {}).items())),
        *_verdict(report),
        *([_table(report)] if before is None else _sums(before, report)),
        *_not_passed(report, _MOST_ROWS),
        *_notes(report)[:_MOST_ROWS],
    ]
    written, rest = f"{marker(key)}\n", ""
    for part in markdown(_title(report), blocks, most_rows=_MOST_ROWS):
        if len(written) + len(part) < _ROOM:
            written += f"{part}\n\n"
        else:
            rest = f"{_NO_ROOM}\n"
    return written.rstrip() + f"\n\n{rest}".rstrip() + "\n"


def marker(key: str) -> str:
    """Return the hidden first line that identifies the comment with this key."""
    plain = re.sub(r"[^A-Za-z0-9_.:/]+", " ", key).strip()[:_MOST_OF_KEY]
    if plain != key:  # The removed characters may be the only difference between two keys.
        plain += f" {hashlib.sha256(key.encode('utf-8', 'replace')).hexdigest()[:12]}"
    return f"<!-- pandaprobe-otel report: {plain.strip()} -->"


def _not_passed(report: Report, most: int) -> list[Block]:
    bad = [case for case in report.cases if not case.passed]
    folds: list[Block] = []
    for case in bad[:most]:
        reasons = [*_reasons(case)[:_MOST_REASONS], *more(len(complaints(case)), "reasons", _MOST_REASONS)]
        folds.append(Fold([*_name(case)[:2], *_pages(case, report)], reasons))
    folds += more(len(bad), "cases", most)
    return [Fold([text(f"{counted(len(bad), 'case')} did not pass")], folds)] if bad else []


def _pages(case: CaseResult, report: Report) -> list[Words]:
    pages = (page_of(trace.trace_id, report.trace_url) for trace in case.records[:_MOST_REASONS])
    return [text("trace", link=address) for address in pages if address]


def _trace(trace_id: str, trace_url: str | None) -> Words:
    return text(f"trace {trace_id}", link=page_of(trace_id, trace_url))


def _outcome(outcome: Outcome | None) -> Words:
    return text("none", "dim") if outcome is None else text(outcome, _STYLES[outcome])


def _cell(result: MetricResult | None) -> Words:
    if result is None:
        return text("")
    if result.finding != "scored" or result.value is None:
        return _outcome(result.outcome)
    below = f" < {result.threshold:.2f}" if result.outcome is Outcome.FAILED else ""
    part = " (a part)" if result.outcome is Outcome.NO_EVIDENCE else ""
    return text(f"{result.value:.2f}{below}{part}", _STYLES[result.outcome] if below else "")


# -- two reports ------------------------------------------------------------------------------------------------------


def comparison_blocks(comparison: Comparison) -> list[Block]:
    """Return one row for each metric, the worst first, and what only one of the reports has."""
    rows = [
        [
            quoted(change.metric),
            text(f"{change.before:.2f}"),
            text(f"{change.after:.2f}"),
            text(change.cases),
            text(change.verdict, _OF_CHANGES.get(change.change, "")),
            text(f"{change.p:.3f}"),
            *(quoted(_names(names)) for names in (change.lost, change.won)),
        ]
        for change in comparison.by_weight
    ]
    header = ["metric", "before", "now", "cases", "change", "p", "lost", "won"]
    empty = line(text("No common case has evidence in both runs."))
    return [Table(header, rows) if rows else empty, *(line(quoted(remark, "dim")) for remark in comparison.remarks)]


def _names(names: Sequence[str]) -> str:
    shown = [*names[:_MOST_NAMES], *(["…"] if len(names) > _MOST_NAMES else [])]
    return f"{len(names)}: {', '.join(shown)}" if names else ""


def comparison_html(comparison: Comparison) -> str:
    """Return the comparison for a notebook."""
    return html([text("comparison"), _outcome(comparison.outcome)], comparison_blocks(comparison))


def comparison_page(before: Report, after: Report, comparison: Comparison) -> str:
    """Return a page with both runs: significant changes first, then the cases, side by side."""
    pairs = paired(before, after)
    rows = [
        [
            quoted(pair.id, link=f"#case-{number}"),
            text(pair.kind, _OF_KINDS.get(pair.kind, "")),
            *(_outcome(None if case is None else case.outcome) for case in (pair.before, pair.after)),
            text(pair.differing or ""),
        ]
        for number, pair in enumerate(pairs)
    ]
    return page(
        [quoted(after.name), text("before and now")],
        [
            line(text(f"{before.created_at} ({before.rate}) → {after.created_at} ({after.rate})", "dim")),
            *comparison_blocks(comparison),
            *_sums(before, after),
            Table(["case", "kind", "before", "now", "differing spans"], rows),
            *(_pair(number, pair, before, after) for number, pair in enumerate(pairs)),
        ],
    )


def _sums(before: Report, after: Report) -> list[Block]:
    rows = [list(map(text, row)) for row in sums(before, after)]
    return [Table(["sum", "before", "now", "change"], rows)] if rows else []


def _pair(number: int, pair: CasePair, before: Report, after: Report) -> Fold:
    both = [(case, report) for case, report in ((pair.before, before), (pair.after, after)) if case is not None]
    results = zip_longest(*([_result(one) for one in case.results] for case, _ in both), fillvalue=text(""))
    pages = [link for case, report in both for link in _pages(case, report)]
    blocks: list[Block] = [
        *(
            block
            for name in ("input", "output")
            for block in _changed(name, getattr(pair.before, name, None), getattr(pair.after, name, None))
        ),
        Table([name for name, case in (("before", pair.before), ("now", pair.after)) if case], [*map(list, results)]),
        *(block for spans in pair.traces for block in _spans(spans)),
    ]
    title = [text(pair.kind, _OF_KINDS.get(pair.kind, "dim")), quoted(pair.id), *pages]
    return Fold(title, blocks, is_open=pair.kind != "same", anchor=f"case-{number}")


def _result(result: MetricResult) -> Words:
    return quoted(result.text, _STYLES[result.outcome])


def _spans(spans: Sequence[SpanPair]) -> Iterator[Block]:
    """Yield the spans of a trace side by side, and then the changed fields of each."""
    differing = sum(pair.change != "same" for pair in spans)
    words = f"{counted(differing, 'span')} of {len(spans)} differ" if differing else "no difference"
    rows: list[list[Words]] = []
    for pair in spans:
        change = {"left": "before only", "right": "now only"}.get(pair.change, ", ".join(pair.fields))
        rows.append([*(_span(span, pair.depth) for span in (pair.before, pair.after)), text(change, "unsure")])
    yield Fold([text(words)], [Table(["before", "now", "difference"], rows)], is_open=bool(differing))
    for pair in spans:
        if pair.before is not None and pair.after is not None and pair.change != "same":
            shown = [name for name in pair.fields if name != "order"]  # The order is no value.
            values = ((name, pair.before.body.get(name), pair.after.body.get(name)) for name in shown)
            changes = [block for value in values for block in _changed(*value)]
            yield Fold([*span_words(pair.after)[:2], text(f"{', '.join(pair.fields)} changed")], changes)


def _span(span: SpanRecord | None, depth: int) -> Words:
    return text("" if span is None else "\u2003" * depth + "  ".join(part.text for part in span_words(span)))


def _changed(name: str, before: Any, after: Any) -> list[Payload]:
    """Return a value, or the removed and added lines of a changed one."""
    if before == after:
        return payload(name, after)
    lines = [quoted(_OF_SIDES[one.side][0] + one.text, _OF_SIDES[one.side][1]) for one in diff_payloads(before, after)]
    return [Payload(f"{name}, changed", lines)]


# -- a judge ----------------------------------------------------------------------------------------------------------


def quality_text(quality: JudgeQuality) -> str:
    """Return the agreement of a judge with the labels, and the cases that differ, for a terminal."""
    seen, wrong = quality.agreement, quality.disagreements
    kappa = "cannot be said" if seen.kappa is None else f"{seen.kappa:.2f}, 95 % CI {seen.low:.2f} to {seen.high:.2f}"
    facts = {
        "kappa": kappa + ("" if quality.min_kappa is None else f", {quality.min_kappa:g} required"),
        "agreement": f"{seen.share:.0%} of {seen.cases} cases, {seen.yes} of them with the label yes",
        "wrong": f"{seen.false_yes} × yes where the label is no, {seen.false_no} × no where it is yes",
        "lack": seen.lack,
    }
    rows = [
        [quoted(one.id), text("yes" if one.label else "no"), text(f"{one.value:.2f}"), quoted(one.reason, "dim")]
        for one in wrong[:_MOST_CASES]
    ]
    blocks: list[Block] = [
        line(quoted(f"{quality.metric}: {quality.outcome}")),
        Table(["measure", "value"], [[text(name), text(value)] for name, value in facts.items() if value]),
        *(line(quoted(f"{name}: no answer: {reason}", "bad")) for name, reason in quality.unanswered.items()),
        *([Table(["disagreement", "label", "score", "reason"], rows)] if rows else []),
        *more(len(wrong), "cases; --format json has all", len(rows)),
    ]
    return "\n".join(lines_of(blocks, width=_WIDTH))


_MOST_BYTES: Final = 1 << 20
"""Largest summary of a step, in bytes."""
_CUT: Final = b"\nThere is more, for which a summary has no room: see the report.\n"


def error_commands(
    report: Report, places: Mapping[str, tuple[str, int | None]] | None = None, *, allow_no_evidence: bool = False
) -> list[str]:
    """Return a workflow command for each case that did not pass, and for each regression against the baseline.

    Print them to standard output.

    places: file and line of cases, which are tests. Lines count from 0, as in pytest.
    """
    said = [(case.outcome, case.id, words) for case in report.cases for words in complaints(case)]
    if report.comparison is not None and (lines := baseline_complaints(report)):
        said.append((report.comparison.outcome, "baseline", "\n".join(lines)))
    commands: list[str] = []
    for outcome, name, words in said:
        level = "warning" if allow_no_evidence and outcome is Outcome.NO_EVIDENCE else "error"
        file, line = (places or {}).get(name, (None, None))
        given = {"file": file, "line": None if line is None else str(line + 1), "title": f"{report.name}: {name}"}
        properties = ",".join(f"{name}={_escaped(value, _OF_PROPERTIES)}" for name, value in given.items() if value)
        commands.append(f"::{level} {properties}::{_escaped(words)}")
    return commands


_OF_PROPERTIES: Final = "%\r\n:,"


def _escaped(text: str, special: str = "%\r\n") -> str:
    return "".join(f"%{ord(each):02X}" if each in special else each for each in text)


def add_summary(text: str, environ: Mapping[str, str]) -> None:
    """Append Markdown to the summary of a job, as far as whole lines fit: GitHub does not show a longer summary."""
    if path := environ.get("GITHUB_STEP_SUMMARY"):
        with Path(path).open("ab") as file:
            content, room = text.encode("utf-8", "replace"), _MOST_BYTES - file.tell()
            if len(content) > room:
                kept = content[: max(room - len(_CUT), 0)]
                content = kept[: kept.rfind(b"\n") + 1] + _CUT if room >= len(_CUT) else b""
            file.write(content)
