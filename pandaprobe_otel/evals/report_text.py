"""Reports as plain text and as Markdown."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from typing import Any, Final

from pandaprobe_otel.evals.judging import counted
from pandaprobe_otel.evals.report import CaseResult, Report, case_table
from pandaprobe_otel.evals.verdicts import Outcome
from pandaprobe_otel.traces.text import value_text

_GAP: Final = 2
_LEAST: Final = 10
"""Minimum width, in characters, of the case ids and of a column of inputs or outputs."""


def table(report: Report, width: int | None = None) -> str:
    """Return the report as aligned columns, followed by the reasons of the cases that did not pass.

    width: the width of the table. Default: the terminal's. Inputs and outputs are shown if there is room.
    """
    header, rows = case_table(report)
    lines = [list(header), *rows]
    room = (width or shutil.get_terminal_size((100, 24)).columns) - _width_of(lines)
    if room < 0:  # Ids of tests are long and differ at their ends.
        longest = max(max(len(line[0]) for line in lines) + room, _LEAST)
        lines = [[_end_of(line[0], longest), *line[1:]] for line in lines]
    elif (each := room // 2 - _GAP) >= _LEAST:
        shown = [("input", "output"), *((_short(case.input, each), _short(case.output, each)) for case in report.cases)]
        lines = [[*line[:2], *pair, *line[2:]] for line, pair in zip(lines, [*shown, ("", "")], strict=True)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    told = [f"{case.id}: {said}" for case in report.cases if not case.passed for said in complaints(case)]
    compared = [] if report.comparison is None else ["compared with the baseline:", str(report.comparison)]
    return "\n".join([*text, "", verdict_line(report), *compared, *told, *map(str, report.cache_uses), *report.notes])


def _width_of(lines: Sequence[Sequence[str]]) -> int:
    return sum(max(map(len, column)) + _GAP for column in zip(*lines, strict=True)) - _GAP


def _short(value: Any, width: int) -> str:
    text = " ".join((value if isinstance(value, str) else value_text(value)).split()) if value is not None else ""
    return text if len(text) <= width else text[: width - 1] + "…"


def _end_of(text: str, width: int) -> str:
    return text if len(text) <= width else "…" + text[len(text) - width + 1 :]


def markdown(report: Report) -> str:
    """Return the report as Markdown."""
    header, rows = case_table(report)
    lines = [f"## {_escaped(report.name)}: {report.outcome}", "", rate_line(report), ""]
    lines += [line for words in baseline_complaints(report)[:1] for line in (_escaped(words), "")]
    lines += [_row(header), _row(["---"] * len(header)), *map(_row, rows)]
    failing = [case for case in report.cases if not case.passed]
    if failing:
        lines += ["", "### Not passed"]
    for case in failing:
        lines += [
            "",
            f"**{_escaped(case.id)}**: {_escaped(value_text(case.input))} → {_escaped(value_text(case.output))}",
        ]
        lines += ["", *(f"- {_escaped(said)}" for said in complaints(case))]
    if report.comparison is not None:
        lines += ["", "### Compared with the baseline", ""]
        lines += [f"- {_escaped(line)}" for line in str(report.comparison).splitlines()]
    lines += ["", *(_escaped(note) for note in report.notes)] if report.notes else []
    lines += [f"\n{_escaped(str(use))}" for use in report.cache_uses]
    return "\n".join(lines) + "\n"


def verdict_line(report: Report) -> str:
    """Return the verdict, the rate, and the regressions against a baseline, on one line."""
    return "; ".join([f"{report.outcome}: {rate_line(report)}", *baseline_complaints(report)[:1]])


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


def totals(report: Report) -> str:
    """Return totals on one line: cases, traces, time, and the tokens and cost that spans state."""
    parts = [counted(len(report.cases), "case"), counted(sum(len(case.traces) for case in report.cases), "trace")]
    parts += [f"{report.tokens:,} tokens"] if report.tokens is not None else []
    parts += [f"${report.cost:.4g}"] if report.cost is not None else []
    return ", ".join([*parts, f"{sum(case.seconds for case in report.cases):.1f} s"])


def complaints(case: CaseResult) -> list[str]:
    """Return the reasons why a case did not pass, one per line."""
    if case.passed:
        return []
    said = [case.error] if case.error else []
    said += [result.text for result in case.results if not result.passed]
    return said or ["no metric was judged"]


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(_escaped(cell) for cell in cells) + " |"


def _escaped(text: str) -> str:
    text = " ".join(text.split())
    for character in "\\|*_`<>[]":
        text = text.replace(character, "\\" + character)
    return text
