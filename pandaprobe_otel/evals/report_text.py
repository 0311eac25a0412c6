"""Reports as plain text and as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from pandaprobe_otel.evals.report import CaseResult, Report, case_table
from pandaprobe_otel.evals.tree_text import value_text


def table(report: Report) -> str:
    """Return the report as aligned columns, and what the cases that did not pass say."""
    header, rows = case_table(report)
    lines = [list(header), *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    told = [f"{case.id}: {said}" for case in report.cases if not case.passed for said in complaints(case)]
    return "\n".join([*text, "", verdict_line(report), *told, *report.notes])


def markdown(report: Report) -> str:
    """Return the report as Markdown."""
    header, rows = case_table(report)
    lines = [f"## {_escaped(report.name)}: {report.outcome}", "", str(report.rate), ""]
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
    lines += ["", *(_escaped(note) for note in report.notes)] if report.notes else []
    return "\n".join(lines) + "\n"


def verdict_line(report: Report) -> str:
    """Return the verdict and the rate in one line."""
    wanted = "" if report.pass_rate == 1.0 else f", {report.pass_rate:.0%} required"
    return f"{report.outcome}: {report.rate}{wanted}"


def complaints(case: CaseResult) -> list[str]:
    """Return why a case did not pass, a line each."""
    if case.passed:
        return []
    said = [case.error] if case.error else []
    said += [result.text for result in case.results if not result.passed]
    return said or ["no metric was asked"]


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(_escaped(cell) for cell in cells) + " |"


def _escaped(text: str) -> str:
    text = " ".join(text.split())
    for character in "\\|*_`<>[]":
        text = text.replace(character, "\\" + character)
    return text
