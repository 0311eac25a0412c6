"""Reports, comparisons and judge measurements as HTML for notebooks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pandaprobe_otel.evals.report import CaseResult, Report, case_table
from pandaprobe_otel.evals.report_text import baseline_complaints, complaints, rate_line, totals
from pandaprobe_otel.evals.verdicts import Outcome
from pandaprobe_otel.traces.markup import Markup, field, folded, joined, line, output, table, text

if TYPE_CHECKING:
    from pandaprobe_otel.evals.judge_quality import JudgeQuality
    from pandaprobe_otel.evals.report_comparison import Comparison

_STYLES: Final = {Outcome.PASSED: "good", Outcome.FAILED: "bad", Outcome.NO_EVIDENCE: "unsure"}
_CHANGES: Final = {"regression": "bad", "improvement": "good", "too few cases to tell": "unsure"}
_MOST_CASES: Final = 20
_LONGEST: Final = 2_000


def report_html(report: Report) -> str:
    """Return the verdict, the table of the cases, and the reasons of cases that did not pass."""
    header, rows = case_table(report)
    styles = [_STYLES.get(case.outcome, "bad") for case in report.cases]
    cells = [
        [text(first), text(outcome, style), *map(text, rest)]
        for (first, outcome, *rest), style in zip(rows, [*styles, ""], strict=True)  # The last row has the means.
    ]
    failing = [case for case in report.cases if not case.passed]
    hidden = len(failing) - _MOST_CASES
    return output(
        joined((text(report.name), text(report.outcome, _STYLES.get(report.outcome, "bad"))), " "),
        line(text(rate_line(report)), text(totals(report), "dim")),
        *(line(text(words, "bad")) for words in baseline_complaints(report)),
        table(header, cells),
        *map(_case, failing[:_MOST_CASES]),
        line(text(f"… {hidden} more cases did not pass", "dim")) if hidden > 0 else Markup(""),
        *(line(text(note, "unsure")) for note in report.notes),
    )


def comparison_html(comparison: Comparison) -> str:
    """Return one row for each metric, the worst first."""
    rows = [
        [
            text(change.metric),
            text(f"{change.before:.2f} → {change.after:.2f}"),
            text(change.cases),
            text(change.verdict, _CHANGES.get(change.change, "")),
            text(f"{change.p:.3f}"),
            text(", ".join(change.lost)),
            text(", ".join(change.won)),
        ]
        for change in comparison.by_weight
    ]
    others = {"only in the earlier report": comparison.only_before, "new cases": comparison.only_after}
    return output(
        joined((text("comparison"), text(comparison.outcome, _STYLES.get(comparison.outcome, "bad"))), " "),
        table(["metric", "mean", "cases", "change", "p", "lost", "won"], rows) if rows else Markup(""),
        *(line(text(remark, "dim")) for remark in comparison.remarks),
        *(line(text(f"{name}: {', '.join(cases)}", "dim")) for name, cases in others.items() if cases),
    )


def quality_html(quality: JudgeQuality) -> str:
    """Return the agreement of a judge with the labels, and the cases in which they differ."""
    found = quality.agreement
    kappa = "unknown" if found.kappa is None else f"{found.kappa:.2f} ({found.low:.2f} to {found.high:.2f})"
    facts = [f"kappa {kappa}", f"{found.cases} cases", f"{found.share:.0%} agreement"]
    rows = [
        [
            text(one.id),
            text("yes" if one.label else "no"),
            text(", ".join(f"{v:.2f}" for v in one.values)),
            text(one.reason, "dim"),
        ]
        for one in quality.disagreements
    ]
    return output(
        joined((text(quality.metric), text(quality.outcome, _STYLES.get(quality.outcome, "bad"))), " "),
        line(*map(text, facts)),
        line(text(found.lack, "unsure")) if found.lack else Markup(""),
        table(["disagreement", "label", "scores", "reason"], rows) if rows else Markup(""),
        *(line(text(f"{name}: {reason}", "bad")) for name, reason in quality.unanswered.items()),
    )


def _case(case: CaseResult) -> Markup:
    return folded(
        joined((text(case.id), text(case.outcome, _STYLES.get(case.outcome, "bad"))), " "),
        *(line(text(said)) for said in complaints(case)),
        field("input", case.input, most=_LONGEST),
        field("output", case.output, most=_LONGEST),
        field("expected", case.expected, most=_LONGEST),
    )
