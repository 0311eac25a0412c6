"""`pandaprobe-otel evals agreement`: the agreement of a judge with people."""

from __future__ import annotations

from typing import Any

import click

from pandaprobe_otel.cli.evaluate import (
    judge_of,
    judge_options,
    metric_options,
    metrics_of,
    no_evidence_option,
    progress,
    scorer_option,
    thresholds_of,
    usable,
)
from pandaprobe_otel.cli.exit_codes import exit_code_of_outcome
from pandaprobe_otel.cli.options import FILE, MOST, format_option, option, print_json


@click.command("agreement")
@click.argument("labelled", type=FILE)
@metric_options
@scorer_option
@judge_options
@option("--min-kappa", "Kappa that the whole 95 % interval must reach.", click.FloatRange(-1, 1), metavar="NUMBER")
@option("--max-evals", "Upper limit of questions to the judge. If more are needed, none is asked.", MOST, metavar="N")
@no_evidence_option
@format_option
def agreement(output_format: str, **options: Any) -> int:
    """Ask a judge about the cases of LABELLED (.jsonl, .csv), and compare its answers with the labels.

    Each case has a label and either a trace, or an input and an output. A score of at least the threshold (0.5) is a
    yes. The report has Cohen's kappa with its 95 % interval and the cases that the judge gets wrong.

    Exit code 1: the agreement is below --min-kappa. 6: there are too few cases or answers to decide.
    """
    from pandaprobe_otel.evals.judge_quality import measure_judge
    from pandaprobe_otel.evals.verdicts import all_of

    metrics, judge = metrics_of(options), judge_of(options)
    if not metrics:
        raise click.UsageError("nothing to measure: pass --metric with --judge, or --scorer")
    found = usable(
        lambda: measure_judge(
            options["labelled"],
            metrics,
            judge=judge,
            thresholds=thresholds_of(options),
            min_kappa=options["min_kappa"],
            max_evaluations=options["max_evals"],
            say=progress,
        )
    )
    if output_format == "json":
        print_json([one.to_dict() for one in found])
    else:
        from pandaprobe_otel.evals.report_blocks import quality_text

        click.echo("\n\n".join(map(quality_text, found)))
    outcome = all_of(one.outcome for one in found)
    return exit_code_of_outcome(outcome, allow_no_evidence=options["allow_no_evidence"])
