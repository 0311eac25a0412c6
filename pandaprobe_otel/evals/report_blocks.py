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
from pandaprobe_otel.evals.report_comparison import CasePair, Comparison, TracePair, paired, sums
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
_MOST_OF_KEY: Final = 80


# -- lines ------------------------------------------------------------------------------------------------------------


def rate_line(report: Report) -> str:
    """Return the rate and the required rate, on one line."""
    return f"{report.rate}" + ("" if report.pass_rate == 1.0 else f", {report.pass_rate:.0%} required")


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


def _totals(report: Report) -> str:
    parts = [counted(len(report.cases), "case"), counted(sum(len(case.traces) for case in report.cases), "trace")]
    parts += [f"{report.tokens:,} tokens"] if report.tokens is not None else []
    parts += [f"${report.cost:.4g}"] if report.cost is not None else []
    return ", ".join([*parts, f"{sum(case.seconds for case in report.cases):.1f} s"])


# -- a report ---------------------------------------------------------------------------------------------------------


def _title(report: Report) -> list[Words]:
    return [text(_TICKS[report.outcome], _STYLES[report.outcome]), quoted(report.name), _outcome(report.outcome)]


def _verdict(report: Report) -> list[Block]:
    return [
        *(line(quoted(words, "bad")) for words in baseline_complaints(report)[:1]),
        line(text(f"{report.outcome}: {rate_line(report)}", _STYLES[report.outcome]), text(_totals(report), "dim")),
    ]


def _compared(report: Report) -> list[Block]:
    return [] if report.comparison is None else comparison_blocks(report.comparison)


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


def _notes(report: Report) -> Iterator[Block]:
    """Yield the other problems, and the use of caches."""
    yield from (line(text("note:"), quoted(note, "unsure")) for note in report.notes)


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
    blocks = [_table(report), *folds, *rest, *_notes(report), *_compared(report), *_verdict(report)]
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
    made = [*_verdict(report), *_compared(report), _table(report), *folds[:_MOST_CASES], *rest]
    return html(_title(report), [*made, *_notes(report)])


def report_page(report: Report) -> str:
    """Return the report as a page, with the traces of all cases. Those that did not pass are open."""
    folds = [_whole(number, case, report.trace_url) for number, case in enumerate(report.cases)]
    made = [line(text(report.created_at, "dim")), *_verdict(report), *_compared(report), *_notes(report)]
    return page(_title(report), [*made, _table(report, has_links=True), *folds])


def report_markdown(report: Report) -> str:
    """Return the report as Markdown, for a job summary: all cases, and the reasons of those that did not pass."""
    bad = _not_passed(report, len(report.cases))
    blocks = [*_verdict(report), *_compared(report), _table(report), *bad, *_notes(report)]
    return "\n\n".join(markdown(_title(report), blocks, most_rows=len(report.cases) + 1)) + "\n"


def comment(report: Report, *, key: str, before: Report | None = None, links: Mapping[str, str] | None = None) -> str:
    """Return the comment on a pull request. Texts of agents and judges appear as code, which cannot mention anybody.

    before: the baseline, which counts for the verdict. links: addresses by name.
    """
    report = report if before is None else report.against(before)
    means = [[quoted(metric), text(f"{value:.2f}")] for metric, value in report.means.items()]
    blocks = [
        line(*(text(name, link=url) for name, url in (links or {}).items())),
        *_verdict(report),
        *_compared(report),
        *([] if before is None else _sums(before, report)),
        *([Table(["metric", "mean"], means)] if means and before is None else []),
        *_not_passed(report, _MOST_ROWS),
        *list(_notes(report))[:_MOST_ROWS],
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
        pages = filter(None, (page_of(trace.trace_id, report.trace_url) for trace in case.records[:_MOST_REASONS]))
        links = [text("trace", link=address) for address in pages]
        told = [*_reasons(case)[:_MOST_REASONS], *more(len(complaints(case)), "reasons", _MOST_REASONS)]
        folds.append(Fold([*_name(case)[:2], *links], told))
    folds += more(len(bad), "cases", most)
    return [Fold([text(f"{counted(len(bad), 'case')} did not pass")], folds)] if bad else []


def _whole(number: int, case: CaseResult, trace_url: str | None) -> Fold:
    traces = [
        Fold([_trace(trace.trace_id, trace_url)], tree_blocks(trace, most=1 << 24, most_spans=1 << 24), is_open=True)
        for trace in case.records
    ]
    inside = [*_results(case), *_content(case), *traces]
    return Fold(_name(case), inside, is_open=not case.passed, anchor=f"case-{number}")


def _results(case: CaseResult) -> list[Block]:
    error = [] if case.error is None else [line(quoted(case.error, "bad"))]
    return [*error, *(line(quoted(result.text, _STYLES[result.outcome])) for result in case.results)]


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
            text(sum(trace.differing for trace in pair.traces) or ""),
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
    both = (pair.before, pair.after)
    given, answered = ([None if case is None else getattr(case, name) for case in both] for name in ("input", "output"))
    results = [[] if case is None else [*map(_result, case.results)] for case in both]
    summary = [text(pair.kind, _OF_KINDS.get(pair.kind, "dim")), quoted(pair.id)]
    blocks: list[Block] = [
        *_changed("input", *given),
        *_changed("output", *answered),
        Table(["before", "now"], [*zip_longest(*results, fillvalue=text(""))]),
        *(block for trace in pair.traces for block in _traces(trace, before.trace_url, after.trace_url)),
    ]
    return Fold(summary, blocks, is_open=pair.kind != "same", anchor=f"case-{number}")


def _result(result: MetricResult) -> Words:
    return quoted(result.text, _STYLES[result.outcome])


def _traces(pair: TracePair, before_url: str | None, after_url: str | None) -> Iterator[Block]:
    names = [
        text("no trace") if trace is None else _trace(trace.trace_id, url)
        for trace, url in ((pair.before, before_url), (pair.after, after_url))
    ]
    told = f"{counted(pair.differing, 'span')} of {len(pair.spans)} differ" if pair.differing else "no difference"
    rows = [[*map(_span, (one, one), ("before", "after")), text(_difference(one), "unsure")] for one in pair.spans]
    yield Fold([text(told), *names], [Table(["before", "now", "difference"], rows)], is_open=bool(pair.differing))
    for one in pair.spans:
        if one.before is not None and one.after is not None and one.change != "same":
            shown = [name for name in one.fields if name != "order"]  # The order is no value.
            values = ((name, one.before.body.get(name), one.after.body.get(name)) for name in shown)
            changes = [block for value in values for block in _changed(*value)]
            yield Fold([*span_words(one.after)[:2], text(f"{', '.join(one.fields)} changed")], changes)


def _span(pair: SpanPair, side: str) -> Words:
    span = pair.before if side == "before" else pair.after
    return text("" if span is None else "\u2003" * pair.depth + "  ".join(part.text for part in span_words(span)))


def _difference(pair: SpanPair) -> str:
    return {"left": "before only", "right": "now only"}.get(pair.change, ", ".join(pair.fields))


def _changed(name: str, before: Any, after: Any) -> list[Payload]:
    """Return a value, or the removed and added lines of a changed one."""
    if before == after:
        return payload(name, after)
    lines = [quoted(_OF_SIDES[one.side][0] + one.text, _OF_SIDES[one.side][1]) for one in diff_payloads(before, after)]
    return [Payload(f"{name}, changed", lines)]


# -- a judge ----------------------------------------------------------------------------------------------------------


def quality_text(quality: JudgeQuality) -> str:
    """Return the agreement of a judge with the labels, and the cases that differ, for a terminal."""
    title = line(quoted(f"{quality.metric}: {quality.outcome}"))
    return "\n".join(lines_of([title, *_quality(quality)], width=_WIDTH))


def _quality(quality: JudgeQuality) -> list[Block]:
    seen = quality.agreement
    kappa = "cannot be said" if seen.kappa is None else f"{seen.kappa:.2f}, 95 % CI {seen.low:.2f} to {seen.high:.2f}"
    wanted = "" if quality.min_kappa is None else f", {quality.min_kappa:g} required"
    facts = [
        ("kappa", kappa + wanted),
        ("agreement", f"{seen.share:.0%} of {seen.cases} cases, {seen.yes} of them with the label yes"),
        ("wrong", f"{seen.false_yes} × yes where the label is no, {seen.false_no} × no where it is yes"),
        *([("lack", seen.lack)] if seen.lack else []),
    ]
    shown = quality.disagreements[:_MOST_CASES]
    rows = [
        [
            quoted(one.id),
            text("yes" if one.label else "no"),
            text(f"{one.value:.2f}"),
            quoted(one.reason, "dim"),
        ]
        for one in shown
    ]
    return [
        Table(["measure", "value"], [[text(name), text(value)] for name, value in facts]),
        *(line(quoted(f"{name}: no answer: {reason}", "bad")) for name, reason in quality.unanswered.items()),
        *([Table(["disagreement", "label", "score", "reason"], rows)] if rows else []),
        *more(len(quality.disagreements), "cases; --format json has all", len(shown)),
    ]


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
    places = places or {}
    said = [(case.outcome, case.id, words) for case in report.cases if not case.passed for words in complaints(case)]
    if report.comparison is not None and (words := baseline_complaints(report)):
        said.append((report.comparison.outcome, "baseline", "\n".join(words)))
    return [
        _command(
            level="warning" if allow_no_evidence and outcome is Outcome.NO_EVIDENCE else "error",
            title=f"{report.name}: {name}",
            text=text,
            place=places.get(name, ("", None)),
        )
        for outcome, name, text in said
    ]


def _command(*, title: str, text: str, place: tuple[str, int | None], level: str) -> str:
    file, line = place
    properties = {"file": file, "line": "" if line is None else str(line + 1), "title": title}
    given = ",".join(f"{name}={_property(value)}" for name, value in properties.items() if value)
    return f"::{level} {given}::{_data(text)}"


def add_summary(text: str, environ: Mapping[str, str]) -> bool:
    """Append Markdown to the summary of the job; return False outside of a job."""
    path = environ.get("GITHUB_STEP_SUMMARY", "")
    if not path:
        return False
    with Path(path).open("ab") as file:
        file.write(_within(text.encode("utf-8", "replace"), _MOST_BYTES - file.tell()))
    return True


def _within(text: bytes, room: int) -> bytes:
    """Return the first whole lines that fit, since GitHub does not show a longer summary."""
    if len(text) <= room:
        return text
    kept = text[: max(room - len(_CUT), 0)]
    return kept[: kept.rfind(b"\n") + 1] + _CUT if room >= len(_CUT) else b""


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
