"""Last step of every command that makes a report: files, terminal, GitHub, and the exit code."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import click

from pandaprobe_otel.cli.exit_codes import ExitCode, exit_code_of_outcome
from pandaprobe_otel.cli.options import format_option, print_json
from pandaprobe_otel.cli.value_types import Named

if TYPE_CHECKING:
    from pandaprobe_otel.cli.case_table import Trees
    from pandaprobe_otel.evals.report import Report

T = TypeVar("T")

_METRICS = (
    click.option(
        "-m",
        "--metric",
        "metrics",
        type=Named("name"),
        multiple=True,
        metavar="NAME[=MIN]",
        help="Metric, and its lowest passing score (NAME=MIN). May be repeated.",
    ),
    click.option(
        "--threshold",
        "thresholds",
        type=Named("number"),
        multiple=True,
        metavar="NUMBER|METRIC=NUMBER",
        help="Lowest passing score, for scorers and metrics without MIN. May be repeated.",
    ),
)
_ENDS = (
    click.option(
        "--allow-no-evidence",
        is_flag=True,
        help="Exit with code 0 if nothing failed, even if not everything was judged.",
    ),
    click.option(
        "--report",
        "reports",
        multiple=True,
        metavar="FILE",
        help="Report to write (.json, .md or .html). May be repeated.",
    ),
    click.option("--baseline", type=click.Path(exists=True, dir_okay=False), help="The .json report to compare with."),
    click.option(
        "--tree",
        "trees",
        type=click.Choice(["failed", "all", "none"]),
        default="failed",
        show_default=True,
        help="Cases whose traces are shown below the table.",
    ),
    format_option,
)


def metric_options(command: Any) -> Any:
    """Give a command the options for metrics and thresholds."""
    return _with(command, _METRICS)


def verdict_options(command: Any) -> Any:
    """Give a command the options that `concluded` reads."""
    return _with(command, _ENDS)


def _with(command: Any, options: Sequence[Callable[[Any], Any]]) -> Any:
    for option in reversed(options):
        command = option(command)
    return command


def thresholds_in(options: Mapping[str, Any]) -> dict[str, float]:
    """Return the given thresholds by metric, with "" for all other metrics. `NAME=MIN` overrides `--threshold`."""
    return dict(options["thresholds"]) | {name: value for name, value in options["metrics"] if value is not None}


def concluded(options: Mapping[str, Any], make: Callable[[], Report]) -> ExitCode:
    """Make a report, compare it with the baseline, save and show it, report to GitHub, and return the exit code.

    Invalid options are refused before the report is made. After Ctrl-C, the report covers the cases so far, and
    replaces the file of an earlier run.
    """
    from pandaprobe_otel.evals.report import EvaluationStopped, check_form

    for path in options["reports"]:
        usable(partial(check_form, path))
    baseline = None if options["baseline"] is None else load(options["baseline"])
    is_stopped = False
    try:
        report = usable(make)
    except EvaluationStopped as error:
        is_stopped, report = True, error.report
    if baseline is not None:
        report = report.against(baseline)
    for path in options["reports"]:
        report.save(path)
    as_json, allowed = options["output_format"] == "json", options["allow_no_evidence"]
    _show(report, as_json=as_json, trees=options["trees"])
    _report_to_github(report, quiet=as_json, allow_no_evidence=allowed)
    return ExitCode.INTERRUPTED if is_stopped else exit_code_of_outcome(report.outcome, allow_no_evidence=allowed)


def load(path: str) -> Report:
    """Load a .json report. Raises UsageError if the file is not a report."""
    from pandaprobe_otel.evals.report import Report

    return usable(lambda: Report.load(path))


def usable(action: Callable[[], T]) -> T:
    """Return the result of an action. Raises UsageError in place of its ValueError."""
    try:
        return action()
    except ValueError as error:
        raise click.UsageError(str(error)) from error


def _show(report: Report, *, as_json: bool, trees: Trees) -> None:
    from pandaprobe_otel.cli.case_table import show_report

    if as_json:
        print_json(report.to_dict())
    else:
        show_report(report, trees)


def _report_to_github(report: Report, *, quiet: bool, allow_no_evidence: bool) -> None:
    from pandaprobe_otel.evals.github import add_summary, error_commands

    add_summary(report.to_markdown(), os.environ)
    if os.environ.get("GITHUB_ACTIONS") == "true":
        for line in error_commands(report, allow_no_evidence=allow_no_evidence):
            click.echo(line, err=quiet)
