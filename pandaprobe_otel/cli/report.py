"""`pandaprobe-otel report`: what is done with the report of a finished run."""

from __future__ import annotations

from typing import Any

import click

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
