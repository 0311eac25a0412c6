"""Results of evaluation runs as plain text and as HTML for notebooks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pandaprobe_otel.reporting.markup import Markup, line, output, table, text

if TYPE_CHECKING:
    from pandaprobe_otel.api.runs.result import RunResult


def result_text(result: RunResult) -> str:
    """Return the verdict, and one line for each pair of target and metric."""
    rows = [f"  {row['metric']}  {row['target']}  {_value(row)}  {_note(row)}".rstrip() for row in result.rows()]
    return "\n".join([_verdict(result), *rows])


def result_html(result: RunResult) -> str:
    """Return the verdict and a table of the pairs."""
    rows = [
        [text(row["metric"]), text(row["target"]), text(_value(row), _style(row)), text(_note(row), "dim")]
        for row in result.rows()
    ]
    title = text(_verdict(result), "good" if result.ok else "bad")
    body = table(["metric", "target", "score", "reason"], rows) if rows else Markup("")
    return output(title, line(text(result.run.id, "dim")), body)


def _verdict(result: RunResult) -> str:
    good = len(result.scores) - len(result.failed) - len(result.vacuous)
    counts = {"failed": len(result.failed), "missing": result.missing_count, "without evidence": len(result.vacuous)}
    told = "".join(f", {count} {name}" for name, count in counts.items() if count)
    return f"evaluation {result.run.status}: {good} scores{told}"


def _value(row: Mapping[str, Any]) -> str:
    if row["vacuous"] is not None:
        return f"{row['value']} (nothing to judge)"
    return str(row["status"] if row["value"] is None else row["value"])


def _note(row: Mapping[str, Any]) -> str:
    return " ".join(str(row["vacuous"] or row["reason"] or "").split())


def _style(row: Mapping[str, Any]) -> str:
    """Return the CSS class of a score. It never marks a score as good: only a threshold could, and only the caller has
    one.
    """
    if row["vacuous"] is not None:
        return "unsure"
    return "bad" if row["value"] is None else ""
