"""`pandaprobe-otel report`: gate, compare and publish finished runs."""

from __future__ import annotations

import os
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
    """Gate, compare and publish finished runs, from their .json reports. Nothing runs, and nothing is billed."""


@report.command("gate")
@_run
@metric_options
@click.option("--allow-vacuous", is_flag=True, help="Pass if there was nothing to judge.")
@click.option(
    "--pass-rate", type=click.FloatRange(0, 1), help="Share of the cases that must pass. [default: as in the run]"
)
@verdict_options
def gate(run: str, **options: Any) -> int:
    """Decide about RUN.json again, with other thresholds or those of the run.

    With --metric only the metrics that are named count. What is not given is as it was in the run.

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
@click.option("--html", type=click.Path(dir_okay=False), metavar="FILE", help="Write both runs side by side, one page.")
@format_option
def compare(before: str, run: str, html: str | None, output_format: str) -> int:
    """Compare RUN.json with BEFORE.json, case by case; the page marks the spans that differ.

    Exit code 1: a metric is worse, beyond chance. 6: no case in common has evidence in both. Thresholds count for
    nothing here: `report gate --baseline` holds both.
    """
    from pandaprobe_otel.evals.tree_text import plain_text

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
@click.option("--baseline", type=click.Path(exists=True, dir_okay=False), help="The .json report of the base.")
@click.option("--repo", metavar="OWNER/NAME", help="The repository. [default: GITHUB_REPOSITORY]")
@click.option("--pr", type=click.IntRange(1), metavar="NUMBER", help="Pull request. [default: the job's]")
@click.option("--key", help="Tells several comments on one pull request apart. [default: the name of the run]")
@click.option("--link", "links", type=Link(), multiple=True, metavar="NAME=URL", help="To be shown; may be repeated.")
@click.option("--print", "prints", is_flag=True, help="Print the comment; nothing is sent.")
def comment(run: str, baseline: str | None, key: str | None, prints: bool, links: Any, **place: Any) -> int:
    """Write RUN.json as a comment on a pull request of GitHub, or update the one that was written before.

    GITHUB_TOKEN needs the permission `pull-requests: write`. Where it has not, as for a pull request from a fork, the
    comment goes into the summary of the job. The verdict does not count for the exit code: `report gate` is for that.
    """
    from pandaprobe_otel.cli.pull_request_comment import deliver, link_to_job
    from pandaprobe_otel.evals.report_comment import comment as text_of

    later, earlier = load(run), None if baseline is None else load(baseline)
    text = text_of(
        later,
        key=key or later.name,
        before=earlier,
        links=dict(links) | link_to_job(os.environ),
    )
    if prints:
        click.echo(text, nl=False)
        return ExitCode.OK
    return deliver(text, repository=place["repo"], number=place["pr"], environ=os.environ)
