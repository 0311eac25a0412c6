"""`pandaprobe-otel report`: gate, compare and publish finished runs."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from pandaprobe_otel.cli.exit_codes import ExitCode, exit_code_of_outcome
from pandaprobe_otel.cli.options import format_option, print_json
from pandaprobe_otel.cli.report_output import concluded, load, metric_options, thresholds_in, verdict_options
from pandaprobe_otel.cli.value_types import Link

_run = click.argument("run", type=click.Path(exists=True, dir_okay=False))


@click.group("report")
def report() -> None:
    """Gate, compare and publish finished runs, from their .json reports. This runs and bills nothing."""


@report.command("gate")
@_run
@metric_options
@click.option("--allow-vacuous", is_flag=True, help="Pass if there is nothing to judge.")
@click.option(
    "--pass-rate", type=click.FloatRange(0, 1), help="Share of the cases that must pass. [default: as in the run]"
)
@verdict_options
def gate(run: str, **options: Any) -> int:
    """Decide about RUN.json again, with new thresholds or those of the run.

    With --metric, only the named metrics count. Omitted options are taken from the run.

    Exit codes and outputs are those of `eval`.
    """
    from pandaprobe_otel.evals.gate import gated

    return concluded(
        options,
        lambda: gated(
            load(run),
            metrics=list(dict(options["metrics"])),
            thresholds=thresholds_in(options),
            pass_rate=options["pass_rate"],
            allow_vacuous=options["allow_vacuous"],
        ),
    )


@report.command("compare")
@click.argument("before", type=click.Path(exists=True, dir_okay=False))
@_run
@click.option(
    "--html", type=click.Path(dir_okay=False), metavar="FILE", help="HTML file to write, with both runs side by side."
)
@format_option
def compare(before: str, run: str, html: str | None, output_format: str) -> int:
    """Compare RUN.json with BEFORE.json, case by case. The HTML page marks the spans that differ.

    Exit code 1: a metric is significantly worse. 6: no common case has evidence in both runs. Thresholds are ignored;
    `report gate --baseline` applies them as well.
    """
    from pandaprobe_otel.traces.text import plain_text

    earlier, later = load(before), load(run)
    comparison = later.compare(earlier)
    if html is not None:
        from pandaprobe_otel.evals.comparison_html import comparison_page

        Path(html).parent.mkdir(parents=True, exist_ok=True)
        Path(html).write_text(comparison_page(earlier, later, comparison), encoding="utf-8", errors="replace")
    if output_format == "json":
        print_json({"outcome": comparison.outcome, **asdict(comparison)})
    else:
        click.echo(plain_text(str(comparison)))
    return exit_code_of_outcome(comparison.outcome)


@report.command("comment")
@_run
@click.option("--baseline", type=click.Path(exists=True, dir_okay=False), help="The .json report of the base branch.")
@click.option(
    "--key", help="Key that distinguishes several comments on one pull request. [default: the name of the run]"
)
@click.option(
    "--link",
    "links",
    type=Link(),
    multiple=True,
    metavar="NAME=URL",
    help="Link to show in the comment. May be repeated.",
)
def comment(run: str, baseline: str | None, key: str | None, links: Any) -> int:
    """Print RUN.json as a comment on a pull request of GitHub.

    The first line, which GitHub does not show, identifies the comment by its key, so that a later one can replace it.
    The exit code does not depend on the verdict; use `report gate` for that.
    """
    from pandaprobe_otel.evals.report_comment import comment as text_of

    later, earlier = load(run), None if baseline is None else load(baseline)
    click.echo(text_of(later, key=key or later.name, before=earlier, links=dict(links)), nl=False)
    return ExitCode.OK
