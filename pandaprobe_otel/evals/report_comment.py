"""A report as a comment on a pull request: first regressions, then totals, then the cases."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Final

from pandaprobe_otel.evals.judging import counted
from pandaprobe_otel.evals.report import CaseResult, Report
from pandaprobe_otel.evals.report_comparison import Comparison, MetricChange, sums
from pandaprobe_otel.evals.report_text import baseline_complaints, complaints, rate_line, totals
from pandaprobe_otel.evals.verdicts import Outcome
from pandaprobe_otel.reporting.trace_links import page_of

_TICKS: Final = {Outcome.PASSED: "✔", Outcome.FAILED: "✘", Outcome.NO_EVIDENCE: "?"}
_MOST_ROWS: Final = 30
"""Maximum number of rows of a table or list."""
_ROOM: Final = 65_000
"""Maximum number of characters of a comment; GitHub allows 65,536."""
_NO_ROOM: Final = "The rest does not fit into a comment.\n"
_MOST_CHARACTERS: Final = 300
_MOST_OF_KEY: Final = 80


def marker(key: str) -> str:
    """Return the hidden first line that identifies the comment with this key."""
    plain = re.sub(r"[^A-Za-z0-9_.:/]+", " ", key).strip()[:_MOST_OF_KEY]
    if plain != key:  # The removed characters may be the only difference between two keys.
        plain += f" {hashlib.sha256(key.encode('utf-8', 'replace')).hexdigest()[:12]}"
    return f"<!-- pandaprobe-otel report: {plain.strip()} -->"


def comment(
    report: Report,
    *,
    key: str,
    before: Report | None = None,
    links: Mapping[str, str] | None = None,
) -> str:
    """Return the comment as Markdown. Texts of agents and judges appear as code, which cannot mention anybody.

    before: the baseline, which counts for the verdict. links: addresses by name.
    """
    report = report if before is None else report.against(before)
    lines = [marker(key), f"### {_TICKS[report.outcome]} {code(report.name)}: {report.outcome}", ""]
    lines += [f"{report.outcome}: {rate_line(report)}", ""]
    lines += [line for words in baseline_complaints(report)[:1] for line in (code(words), "")]
    if links:
        lines += [" · ".join(f"[{name}]({_address(url)})" for name, url in links.items()), ""]
    if before is not None and report.comparison is not None:
        lines += _compared(before, report, report.comparison)
    else:
        means = [[code(metric), f"{value:.2f}"] for metric, value in report.means.items()]
        lines += [*_table(["metric", "mean"], means), totals(report), ""]
    notes = [f"note: {code(note)}  " for note in report.notes[:_MOST_ROWS]]
    text = "\n".join(lines)
    for part in map("\n".join, (_not_passed(report), notes)):
        text += f"\n{part if len(text) + len(part) < _ROOM else _NO_ROOM}"
    return text.rstrip() + "\n"


def _compared(before: Report, report: Report, comparison: Comparison) -> Iterator[str]:
    sure = [change for change in comparison.by_weight if change.change in ("regression", "improvement")]
    unsure = [change for change in comparison.by_weight if change not in sure]
    if not comparison.changes:
        yield from ("No common case has evidence in both runs.", "")
    elif not sure:
        yield from ("There is no significant change.", "")
    yield from _table(["metric", "base", "now", "change", "p"], map(_row, sure))
    for remark in comparison.remarks:
        yield from (code(remark), "")
    yield from _cases_moved(comparison)
    rows = [[line.name, line.before, line.after, line.change] for line in sums(before, report)]
    yield from _table(["sum", "base", "now", "change"], rows)
    if unsure:
        yield from _folded("Not beyond chance", [*_table(["metric", "base", "now", "change", "p"], map(_row, unsure))])


def _row(change: MetricChange) -> list[str]:
    word = f"**{change.verdict}**" if change.change == "regression" else change.verdict
    return [code(change.metric), f"{change.before:.2f}", f"{change.after:.2f}", word, f"{change.p:.3f}"]


def _cases_moved(comparison: Comparison) -> Iterator[str]:
    whole = next((change for change in comparison.changes if change.metric == "passed"), None)
    if whole is None:
        return
    for word, names in (("lost", whole.lost), ("won", whole.won)):
        if names:
            shown = ", ".join(code(name) for name in names[:_MOST_ROWS])
            more = f", and {len(names) - _MOST_ROWS:,} more" if len(names) > _MOST_ROWS else ""
            yield from (f"{counted(len(names), 'case')} {word}: {shown}{more}", "")


def _not_passed(report: Report) -> list[str]:
    bad = [case for case in report.cases if not case.passed]
    if not bad:
        return []
    told = [line for case in bad[:_MOST_ROWS] for line in _described(case, report.trace_url)]
    more = [f"- and {len(bad) - _MOST_ROWS:,} more"] if len(bad) > _MOST_ROWS else []
    return list(_folded(f"{counted(len(bad), 'case')} did not pass", [*told, *more, ""]))


def _described(case: CaseResult, trace_url: str | None) -> list[str]:
    said = complaints(case)
    more = [f"  - and {len(said) - 3} more"] if len(said) > 3 else []
    pages = filter(None, (page_of(trace.trace_id, trace_url) for trace in case.records[:3]))
    links = "".join(f" [trace]({_address(page)})" for page in pages)
    return [f"- {_TICKS[case.outcome]} {code(case.id)}{links}", *(f"  - {code(one)}" for one in said[:3]), *more]


def _folded(summary: str, lines: Sequence[str]) -> Iterator[str]:
    yield from (f"<details><summary>{summary}</summary>", "", *lines, "</details>", "")


def _table(header: Sequence[str], rows: Iterable[list[str]]) -> Iterator[str]:
    shown = list(islice(rows, _MOST_ROWS))
    if shown:
        yield from (f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *shown))
        yield ""


def code(text: str) -> str:
    """Return a text as code, without mentions, references, links and markup. It also fits into a table."""
    text = " ".join("".join(each if each.isprintable() else " " for each in text).split()).replace("|", "\\|") or " "
    if len(text) > _MOST_CHARACTERS:
        text = text[: _MOST_CHARACTERS - 1] + "…"
    fence = "`" * (1 + max((len(run) for run in re.findall(r"`+", text)), default=0))
    space = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{space}{text}{space}{fence}"


def _address(url: str) -> str:
    return re.sub(r"[\s()<>]", lambda match: f"%{ord(match[0]):02X}", url)
