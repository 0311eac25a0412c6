"""`pandaprobe-otel eval`: a task over a dataset, judged, for CI."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from pandaprobe_otel.cli.exits import ExitCode
from pandaprobe_otel.cli.options import format_option, print_json

if TYPE_CHECKING:
    from pandaprobe_otel.evals.comparison import Comparison
    from pandaprobe_otel.evals.report import Report

T = TypeVar("T")


@click.command("eval")
@click.argument("dataset", type=click.Path(exists=True, dir_okay=False))
@click.option("--task", "task_name", required=True, metavar="MODULE:FUNCTION", help="Called with each input.")
@click.option("--metric", "metrics", multiple=True, metavar="NAME[=MIN]", help="A metric of traces; may be repeated.")
@click.option("--scorer", "scorers", multiple=True, metavar="MODULE:FUNCTION", help="A metric of your own, free.")
@click.option(
    "--threshold", type=click.FloatRange(0, 1), default=0.5, show_default=True, help="Of metrics without MIN."
)
@click.option("--concurrency", type=click.IntRange(1), default=4, show_default=True, help="Cases at once.")
@click.option(
    "--confirm", type=click.IntRange(1), default=1, show_default=True, help='Answers that decide after a "no".'
)
@click.option("--allow-vacuous", is_flag=True, help="Pass where there was nothing to judge.")
@click.option("--model", metavar="MODEL", help="The judge, if not the server's own.")
@click.option("--max-evals", type=click.IntRange(0), metavar="N", help="Judge nothing if more would be billed.")
@click.option("--cache", type=click.Path(dir_okay=False), help="File of judgements about unchanged behaviour.")
@click.option("--report", "reports", multiple=True, metavar="FILE", help="Write .json, .md or .html; may be repeated.")
@click.option("--baseline", type=click.Path(exists=True, dir_okay=False), help="A .json report to compare with.")
@format_option
def evaluate_command(dataset: str, output_format: str, **options: Any) -> int:
    """Run a task over the cases of DATASET (.jsonl, .csv), judge its traces, and report.

    Exit code 1: a case did not pass; with --baseline: it is worse than the baseline, beyond chance. In GitHub Actions
    the job's summary and annotations are written as well.
    """
    report, comparison = _evaluated(dataset, options)
    _usable(lambda: _save(report, options["reports"]))
    _show(report, comparison, as_json=output_format == "json")
    _tell_github(report, comparison, quiet=output_format == "json")
    if comparison is not None:
        return ExitCode.GENERAL if comparison.regressions else ExitCode.OK
    return ExitCode.OK if report.passed else ExitCode.GENERAL


def _evaluated(dataset: str, options: dict[str, Any]) -> tuple[Report, Comparison | None]:
    from pandaprobe_otel.evals.experiment import evaluate
    from pandaprobe_otel.evals.report import Report

    sys.path.insert(0, str(Path.cwd()))  # as `python -m` does: the task is usually here
    baseline = None if options["baseline"] is None else _usable(lambda: Report.load(options["baseline"]))
    named = [_split(metric, options["threshold"]) for metric in options["metrics"]]
    scorers = [_load(name) for name in options["scorers"]]
    task = _load(options["task_name"])
    report = _usable(
        lambda: evaluate(
            dataset,
            task,
            metrics=[*(name for name, _ in named), *scorers],
            thresholds=dict(named),
            concurrency=options["concurrency"],
            name=options["task_name"].rpartition(":")[2],
            model=options["model"],
            confirm=options["confirm"],
            allow_vacuous=options["allow_vacuous"],
            max_evaluations=options["max_evals"],
            cache=options["cache"],
            say=lambda line: click.echo(f"pandaprobe: {line}", err=True),
        )
    )
    return report, None if baseline is None else report.compare(baseline)


def _save(report: Report, paths: Sequence[str]) -> None:
    for path in paths:
        report.save(path)


def _show(report: Report, comparison: Comparison | None, *, as_json: bool) -> None:
    if as_json:
        plain = report.to_dict()
        if comparison is not None:
            plain["regressions"] = [change.metric for change in comparison.regressions]
            plain["comparison"] = str(comparison)
        print_json(plain)
        return
    click.echo(str(report))
    if comparison is not None:
        click.echo(f"\ncompared with the baseline:\n{comparison}")


def _tell_github(report: Report, comparison: Comparison | None, *, quiet: bool) -> None:
    from pandaprobe_otel.evals.github import add_summary, error_commands

    changed = "" if comparison is None else f"\n```\n{comparison}\n```\n"
    add_summary(report.to_markdown() + changed, os.environ)
    if os.environ.get("GITHUB_ACTIONS") == "true":
        for line in error_commands(report):
            click.echo(line, err=quiet)


def _split(metric: str, threshold: float) -> tuple[str, float]:
    name, sign, text = metric.partition("=")
    try:
        return name, float(text) if sign else threshold
    except ValueError:
        raise click.UsageError(f"--metric {metric}: {text!r} is not a number") from None


def _load(name: str) -> Callable[..., Any]:
    module, _, attribute = name.partition(":")
    try:
        found: Any = import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, ValueError) as error:
        raise click.UsageError(f"{name} cannot be loaded: {error}") from error
    if not callable(found):
        raise click.UsageError(f"{name} is not a function")
    return cast("Callable[..., Any]", found)


def _usable(action: Callable[[], T]) -> T:
    try:
        return action()
    except ValueError as error:
        raise click.UsageError(str(error)) from error
