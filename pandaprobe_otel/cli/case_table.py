"""An evaluation report in the terminal: a table of the cases, and the traces of those that did not pass."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

from pandaprobe_otel.cli.options import console
from pandaprobe_otel.evals.report_text import complaints, totals, verdict_line
from pandaprobe_otel.evals.verdicts import Outcome
from pandaprobe_otel.reporting.trace_links import page_of
from pandaprobe_otel.traces.text import json_text, plain_text, tree_text

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from pandaprobe_otel.evals.report import CaseResult, Report

Trees = Literal["failed", "all", "none"]

_MOST_TREES: Final = 10
"""Maximum number of cases whose traces are printed. Passed cases are omitted unless all are requested."""
_MOST_LINES: Final[dict[Trees, int | None]] = {"failed": 60, "all": None, "none": 0}
"""Maximum number of lines of a case's traces. None: no limit."""
_MOST_CHARACTERS: Final = 240
_COLOURS: Final = {Outcome.PASSED: "green", Outcome.FAILED: "red", Outcome.NO_EVIDENCE: "yellow"}
_TICKS: Final = {Outcome.PASSED: "✔", Outcome.FAILED: "✘", Outcome.NO_EVIDENCE: "?"}
_TICKS_IN_ASCII: Final = {Outcome.PASSED: "ok", Outcome.FAILED: "FAIL", Outcome.NO_EVIDENCE: "?"}


def show_report(report: Report, trees: Trees = "failed", *, out: Console | None = None) -> None:
    """Print the cases with inputs, outputs, scores and reasons, then the traces as trees, then the verdict."""
    from rich.text import Text

    out = out or console()
    ticks = _TICKS
    if not out.encoding.lower().startswith("utf"):
        ticks = _TICKS_IN_ASCII
        if (reconfigure := getattr(out.file, "reconfigure", None)) is not None:
            reconfigure(errors="replace")  # A report with question marks is better than none.
    out.print(_table(report, ticks))
    shown = [case for case in report.cases if trees == "all" or not case.passed]
    most = len(shown) if trees == "all" else _MOST_TREES
    for case in shown[:most]:
        _print_case(out, case, report.trace_url, ticks, most_lines=_MOST_LINES[trees])
    if len(shown) > most:
        out.print(Text(f"\nand {len(shown) - most} more: shown with --tree all or --report", style="dim"))
    out.print()
    for note in report.notes:
        out.print(Text(plain_text(note), style="red"))
    for use in report.cache_uses:
        out.print(Text(plain_text(str(use)), style="dim"), soft_wrap=True)
    if report.comparison is not None:
        out.print(Text(f"compared with the baseline:\n{plain_text(str(report.comparison))}\n"), soft_wrap=True)
    out.print(Text(totals(report), style="dim"))
    out.print(Text(plain_text(verdict_line(report)), style=f"bold {_COLOURS[report.outcome]}"))


def _table(report: Report, ticks: dict[Outcome, str]) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.HORIZONTALS, show_lines=True, pad_edge=False, header_style="bold")
    for name, ratio in (("case", 2), ("input", 3), ("output", 3), ("scores", 4)):
        table.add_column(name, overflow="fold", ratio=ratio)
    for case in report.cases:
        table.add_row(*_cells(case, ticks))
    return table


def _cells(case: CaseResult, ticks: dict[Outcome, str]) -> Iterator[Text]:
    from rich.text import Text

    yield _ticked(case.outcome, case.id, ticks).append(f"\n{case.seconds:.2f} s", style="dim")
    yield Text(_shortened(case.input))
    output = Text(_shortened(case.output))
    if case.expected is not None and case.expected != case.output:
        output.append(f"\nexpected: {_shortened(case.expected)}", style="dim")
    yield output
    said = [(result.outcome, result.text) for result in case.results]
    if case.error is not None:
        said.insert(0, (Outcome.FAILED, case.error))
    yield Text("\n").join(_ticked(outcome, _shortened(text), ticks) for outcome, text in said)


def _ticked(outcome: Outcome, text: str, ticks: dict[Outcome, str]) -> Text:
    from rich.text import Text

    return Text(f"{ticks[outcome]} ", style=_COLOURS[outcome]).append(plain_text(text), style="default")


def _print_case(
    out: Console, case: CaseResult, trace_url: str | None, ticks: dict[Outcome, str], *, most_lines: int | None
) -> None:
    from rich.style import Style
    from rich.text import Text

    out.print()
    out.print(_ticked(case.outcome, f"{case.id}: {case.outcome}", ticks))
    for said in complaints(case):
        out.print(Text(f"  {plain_text(said)}"), soft_wrap=True)
    left = most_lines
    for trace in case.records if left != 0 else ():
        lines = tree_text([trace]).splitlines()
        shown = lines[:left]
        out.print(Text(_indented(shown), style="dim"), soft_wrap=True)
        if len(lines) > len(shown):
            out.print(
                Text(f"  and {len(lines) - len(shown):,} more spans: shown with --tree all or --report", style="dim")
            )
        left = None if left is None else max(left - len(shown), 1)  # the first line of each trace
        if page := page_of(trace.trace_id, trace_url):
            out.print(Text(f"  {page}", style=Style(link=page)), soft_wrap=True)


def _indented(lines: Sequence[str]) -> str:
    return "\n".join(f"  {plain_text(line)}" for line in lines)


def _shortened(value: Any) -> str:
    text = "" if value is None else plain_text(value if isinstance(value, str) else json_text(value))
    return text if len(text) <= _MOST_CHARACTERS else text[: _MOST_CHARACTERS - 1] + "…"
