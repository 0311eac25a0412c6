"""`pandaprobe-otel report`: what is done with the report of a finished run."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from pandaprobe_otel.cli.exits import exit_code_of_outcome
from pandaprobe_otel.cli.options import format_option, print_json
from pandaprobe_otel.cli.verdict import concluded, load, metric_options, thresholds_in, verdict_options

_run = click.argument("run", type=click.Path(exists=True, dir_okay=False))


@click.group("report")
def report() -> None:
    """Gate and compare finished runs, from their .json reports: nothing runs, and nothing is paid."""


@report.command("gate")
@_run
@metric_options
@click.option("--allow-vacuous", is_flag=True, help="Pass where there was nothing to judge.")
@click.option("--pass-rate", type=click.FloatRange(0, 1), help="Share of the cases. [default: as the run had it]")
@verdict_options
def gate(run: str, **options: Any) -> int:
    """Decide about RUN.json again, with other thresholds; without any, as the run did.

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

    Exit code 1: a metric is worse, beyond chance. 6: the runs have no case in common. Thresholds count for nothing
    here: `report gate --baseline` holds both.
    """
    earlier, later = load(before), load(run)
    comparison = later.compare(earlier)
    if html is not None:
        from pandaprobe_otel.evals.comparison_html import comparison_page

        Path(html).parent.mkdir(parents=True, exist_ok=True)
        Path(html).write_text(comparison_page(earlier, later, comparison), encoding="utf-8", errors="replace")
    if output_format == "json":
        print_json({"outcome": comparison.outcome, **asdict(comparison)})
    else:
        click.echo(str(comparison))
    return exit_code_of_outcome(comparison.outcome)
