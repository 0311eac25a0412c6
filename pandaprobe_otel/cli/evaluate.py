"""`pandaprobe-otel evals run`, `gate`, `compare` and `comment`: judge an app's runs, and publish the report, for CI."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from pandaprobe_otel.cli.exit_codes import ExitCode, exit_code_of_outcome
from pandaprobe_otel.cli.options import (
    COUNT,
    FILE,
    MOST,
    NEW_FILE,
    SECONDS,
    SHARE,
    Decorator,
    all_of,
    flag,
    format_option,
    option,
    print_json,
)
from pandaprobe_otel.cli.value_types import FUNCTION, LINK, METRIC, THRESHOLD

if TYPE_CHECKING:
    from pandaprobe_otel.evals.local_judge import LocalJudge
    from pandaprobe_otel.evals.report import Report

T = TypeVar("T")

_OF_TASKS: Final = {"task": None, "scorers": (), "repeat": 1, "min_pass": 1.0, "judge": None}
"""Options that require a task, and their defaults."""
_SAME: Final = frozenset(
    {"concurrency", "model", "allow_vacuous", "repeat", "min_pass", "cache", "refresh", "max_evaluations"}
    | {"timeout", "deliver_within", "pass_rate"}
)
"""Options that are arguments of `evaluate`."""
_TOGETHER: Final = {"judge_url": "judge", "refresh": "cache"}
"""Options that require another option."""

threshold_option: Final[Decorator] = option(
    "--threshold thresholds",
    "Lowest passing score, for scorers and metrics without MIN. May be repeated.",
    THRESHOLD,
    multiple=True,
)
metric_options: Final = all_of(
    option(
        "-m --metric metrics",
        "Metric, and its lowest passing score (NAME=MIN). May be repeated.",
        METRIC,
        multiple=True,
    ),
    threshold_option,
)
scorer_option: Final[Decorator] = option(
    "--scorer scorers",
    "Your own scorer function. Not billed. May be repeated.",
    FUNCTION,
    multiple=True,
)
judge_options: Final = all_of(
    option("--judge", "Judge model, called from here without a PandaProbe.", metavar="MODEL"),
    option(
        "--judge-url", "With --judge: URL of an OpenAI-compatible endpoint. [default: the provider's]", metavar="URL"
    ),
)
no_evidence_option: Final[Decorator] = flag(
    "--allow-no-evidence", "Exit with code 0 if nothing failed, even if not everything was judged."
)
_verdict_options: Final = all_of(
    no_evidence_option,
    option(
        "--report reports", "Report to write (.json, .md or .html). May be repeated.", multiple=True, metavar="FILE"
    ),
    option("--baseline", "The .json report to compare with.", FILE),
    option("--tree trees", "Cases whose traces are shown below the table.", ["failed", "all", "none"], "failed"),
    format_option,
)
_run_argument: Final[Decorator] = click.argument("report", type=FILE, metavar="RUN")


def metrics_of(options: Mapping[str, Any]) -> list[Any]:
    """Return the names of the metrics, and the scorers."""
    return [*dict(options["metrics"]), *options["scorers"]]


def thresholds_of(options: Mapping[str, Any]) -> dict[str, float]:
    """Return the thresholds by metric, that of all others under "". `NAME=MIN` overrides `--threshold`."""
    own = {name: value for name, value in options["metrics"] if value is not None}
    return dict(options["thresholds"]) | own


def judge_of(options: Mapping[str, Any]) -> LocalJudge | None:
    """Return the judge model that is called from here; None if none is given."""
    from pandaprobe_otel.evals.local_judge import LocalJudge

    if options["judge_url"] and not options["judge"]:
        raise click.UsageError("--judge-url needs --judge")
    return LocalJudge(options["judge"], url=options["judge_url"]) if options["judge"] else None


def usable(action: Callable[[], T]) -> T:
    """Return the result of an action. Raises UsageError in place of its ValueError."""
    try:
        return action()
    except ValueError as error:
        raise click.UsageError(str(error)) from error


def progress(line: str) -> None:
    """Print a line about the evaluation on standard error."""
    click.echo(f"pandaprobe: {line}", err=True)


@click.command("run")
@click.argument("dataset", type=FILE, required=False)
@option("--task", "With DATASET: function that is called with each input.", FUNCTION)
@option("--trace traces", "Id of a stored trace to judge. May be repeated.", multiple=True, metavar="ID")
@option("--session sessions", "Id of a stored session to judge. May be repeated.", multiple=True, metavar="ID")
@metric_options
@scorer_option
@option("--concurrency", "Number of cases to run at once.", COUNT, 4)
@option("--repeat", "Number of runs of each case.", COUNT, 1)
@option("--min-pass", "Share of a case's runs that must pass.", SHARE, 1.0)
@flag("--allow-vacuous", "Pass if there is nothing to judge.")
@option("--model", "Judge model. [default: the server's]", metavar="MODEL")
@judge_options
@option(
    "--max-evals max_evaluations",
    "Upper limit of billed judgements. If more are needed, nothing is judged.",
    MOST,
    metavar="N",
)
@option("--cache", "File that keeps the judgements of cases whose behaviour is unchanged.", NEW_FILE)
@flag("--refresh", "With --cache: judge everything again and update the file.")
@option("--pass-rate", "Share of the cases that must pass.", SHARE, 1.0)
@option("--deliver-within", "Seconds that may pass until all traces are sent.", SECONDS, 60.0)
@option("--wait-timeout timeout", "Timeout of a run in seconds.", SECONDS, 600.0)
@_verdict_options
def run(**options: Any) -> int:
    """Run a task over the cases of DATASET (.jsonl, .csv), or take stored traces and sessions; then judge and report.

    Metrics of sessions judge each given session. Metrics of traces judge each given trace and each trace of a given
    session. A metric without a threshold passes at 0.5.

    Exit code 1: a case failed or, with --baseline, a metric is significantly worse than in the baseline. 6: no
    evidence, since not everything was judged. In GitHub Actions, the job's summary and annotations are written too.
    """
    for name, other in _TOGETHER.items():
        if options[name] and not options[other]:
            raise click.UsageError(f"--{name.replace('_', '-')} needs --{other}")
    judged = _of_stored if options["traces"] or options["sessions"] else _of_task
    return _concluded(options, lambda: judged(options))


def _of_task(options: Mapping[str, Any]) -> Report:
    from pandaprobe_otel.evals.experiment import evaluate

    task = options["task"]
    if options["dataset"] is None or task is None:
        raise click.UsageError("nothing to judge: pass DATASET with --task, --trace, or --session")
    return evaluate(
        options["dataset"],
        task,
        metrics=metrics_of(options),
        thresholds=thresholds_of(options),
        name=getattr(task, "__name__", type(task).__name__),
        judge=judge_of(options),
        **{name: options[name] for name in _SAME},
    )


def _of_stored(options: Mapping[str, Any]) -> Report:
    from pandaprobe_otel.api import Client
    from pandaprobe_otel.evals.experiment import judge_stored
    from pandaprobe_otel.evals.judging import JudgementCache, Judging
    from pandaprobe_otel.evals.verdicts import Demand, limits_of

    if misplaced := [name for name, default in _OF_TASKS.items() if options[name] != default]:
        raise click.UsageError(
            f"--{misplaced[0].removesuffix('s').replace('_', '-')} needs DATASET and --task: --trace and --session "
            "name runs that have already ended"
        )
    if options["dataset"] is not None or not options["metrics"]:
        raise click.UsageError("--trace and --session need a --metric, and no DATASET")
    limits = limits_of(dict(options["metrics"]), thresholds_of(options))
    judging = Judging(
        max_evaluations=options["max_evaluations"],
        cache=JudgementCache(options["cache"], refresh=options["refresh"]),
        timeout_s=options["timeout"],
    )
    with Client() as client:
        return judge_stored(
            client,
            judging,
            Demand(metrics=limits, allow_vacuous=options["allow_vacuous"], model=options["model"]),
            traces=options["traces"],
            sessions=options["sessions"],
            pass_rate=options["pass_rate"],
            say=progress,
        )


@click.command("gate")
@_run_argument
@metric_options
@flag("--allow-vacuous", "Pass if there is nothing to judge.")
@option("--pass-rate", "Share of the cases that must pass. [default: as in the run]", SHARE)
@_verdict_options
def gate(report: str, **options: Any) -> int:
    """Decide about the report RUN.json again, with new thresholds or those of the run. This runs and bills nothing.

    With --metric, only the named metrics count. Omitted options are taken from the run.

    Exit codes and outputs are those of `evals run`.
    """
    from pandaprobe_otel.evals.report import gated

    return _concluded(
        options,
        lambda: gated(
            _load(report),
            metrics=list(dict(options["metrics"])),
            thresholds=thresholds_of(options),
            pass_rate=options["pass_rate"],
            allow_vacuous=options["allow_vacuous"],
        ),
    )


@click.command("compare")
@click.argument("before", type=FILE)
@_run_argument
@option("--html", "HTML file to write, with both runs side by side.", NEW_FILE, metavar="FILE")
@format_option
def compare(before: str, report: str, html: Path | None, output_format: str) -> int:
    """Compare the report RUN.json with BEFORE.json, case by case. The HTML page marks the spans that differ.

    Exit code 1: a metric is significantly worse. 6: no common case has evidence in both runs. Thresholds are ignored;
    `evals gate --baseline` applies them as well.
    """
    from pandaprobe_otel.traces.text import plain_text

    earlier, later = _load(before), _load(report)
    comparison = later.compare(earlier)
    if html is not None:
        from pandaprobe_otel.evals.report_blocks import comparison_page

        html.parent.mkdir(parents=True, exist_ok=True)
        html.write_text(comparison_page(earlier, later, comparison), encoding="utf-8", errors="replace")
    if output_format == "json":
        print_json({"outcome": comparison.outcome, **asdict(comparison)})
    else:
        click.echo(plain_text(str(comparison)))
    return exit_code_of_outcome(comparison.outcome)


@click.command("comment")
@_run_argument
@option("--baseline", "The .json report of the base branch.", FILE)
@option("--key", "Key that distinguishes several comments on one pull request. [default: the name of the run]")
@option("--link links", "Link to show in the comment. May be repeated.", LINK, multiple=True)
def comment(report: str, baseline: str | None, key: str | None, links: Any) -> int:
    """Print the report RUN.json as a comment on a pull request of GitHub.

    The first line, which GitHub does not show, identifies the comment by its key, so that a later one can replace it.
    The exit code does not depend on the verdict; use `evals gate` for that.
    """
    from pandaprobe_otel.evals.report_blocks import comment as text_of

    later, earlier = _load(report), None if baseline is None else _load(baseline)
    click.echo(text_of(later, key=key or later.name, before=earlier, links=dict(links)), nl=False)
    return ExitCode.OK


def _load(path: str) -> Report:
    from pandaprobe_otel.evals.report import Report

    return usable(lambda: Report.load(path))


def _concluded(options: Mapping[str, Any], make: Callable[[], Report]) -> ExitCode:
    """Make a report, compare it with the baseline, save and show it, report to GitHub, and return the exit code.

    Invalid options are refused before the report is made. After Ctrl-C, the report covers the cases so far, and
    replaces the file of an earlier run.
    """
    from pandaprobe_otel.evals.report import EvaluationStopped, check_form
    from pandaprobe_otel.evals.report_blocks import add_summary, error_commands, report_text

    for path in options["reports"]:
        usable(partial(check_form, path))
    baseline = None if options["baseline"] is None else _load(options["baseline"])
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
    if as_json:
        print_json(report.to_dict())
    else:
        text = report_text(report, options["trees"], has_colours="NO_COLOR" not in os.environ)
        encoding = sys.stdout.encoding  # A report with question marks is better than none.
        click.echo(text.encode(encoding, "replace").decode(encoding))
    add_summary(report.to_markdown(), os.environ)
    if os.environ.get("GITHUB_ACTIONS") == "true":
        for line in error_commands(report, allow_no_evidence=allowed):
            click.echo(line, err=as_json)
    return ExitCode.INTERRUPTED if is_stopped else exit_code_of_outcome(report.outcome, allow_no_evidence=allowed)
