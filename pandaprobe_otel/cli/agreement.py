"""`pandaprobe-otel evals agreement`: the agreement of a judge with people and with itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from pandaprobe_otel.cli.evaluate import (
    judge_of,
    judge_options,
    metric_options,
    names_of,
    no_evidence_option,
    progress,
    scorer_option,
    thresholds_of,
    usable,
)
from pandaprobe_otel.cli.exit_codes import exit_code_of_outcome
from pandaprobe_otel.cli.options import format_option, print_json

if TYPE_CHECKING:
    from pandaprobe_otel.evals.judge_quality import JudgeQuality

_SHOWN: Final = 10
"""Number of wrongly judged cases that are printed. The JSON report has all of them."""


@click.command("agreement")
@click.argument("labelled", type=click.Path(exists=True, dir_okay=False))
@metric_options
@scorer_option
@judge_options
@click.option(
    "--repeat",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Number of times that the judge is asked about each case.",
)
@click.option(
    "--min-kappa", type=click.FloatRange(-1, 1), metavar="NUMBER", help="Kappa that the whole 95 % interval must reach."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the random draws for the interval.")
@click.option(
    "--max-evals",
    type=click.IntRange(0),
    metavar="N",
    help="Upper limit of questions to the judge. If more are needed, none is asked.",
)
@no_evidence_option
@format_option
def agreement(output_format: str, **options: Any) -> int:
    """Ask a judge about the cases of LABELLED (.jsonl, .csv), and compare its answers with the labels.

    Each case has a label and either a trace, or an input and an output. A score of at least the threshold (0.5) is a
    yes. The report has Cohen's kappa with its 95 %
    interval and the cases that the judge gets wrong. With --repeat, it also states how much the judge's answers about
    one case differ.

    Exit code 1: the agreement is below --min-kappa. 6: there are too few cases or answers to decide.
    """
    from pandaprobe_otel.evals.judge_quality import measure_judge
    from pandaprobe_otel.evals.verdicts import all_of

    names, judge = names_of(options), judge_of(options)
    if not names:
        raise click.UsageError("nothing to measure: pass --metric with --judge, or --scorer")
    thresholds = thresholds_of(options, names, 0.5)
    found = usable(
        lambda: measure_judge(
            options["labelled"],
            [*dict(options["metrics"]), *options["scorers"]],
            judge=judge,
            thresholds=thresholds,
            repeat=options["repeat"],
            min_kappa=options["min_kappa"],
            seed=options["seed"],
            max_evaluations=options["max_evals"],
            say=progress,
        )
    )
    if output_format == "json":
        print_json([one.to_dict() for one in found])
    else:
        click.echo("\n\n".join("\n".join(_plain(_lines(one))) for one in found))
    outcome = all_of(one.outcome for one in found)
    return exit_code_of_outcome(outcome, allow_no_evidence=options["allow_no_evidence"])


def _plain(lines: Sequence[str]) -> Iterator[str]:
    """Return the text on one line, since a judge's answer may contain line breaks."""
    from pandaprobe_otel.traces.text import plain_text

    return (plain_text(line.replace("\n", " ")) for line in lines)


def _lines(found: JudgeQuality) -> Sequence[str]:
    seen = found.agreement
    kappa = "cannot be said" if seen.kappa is None else f"{seen.kappa:.2f}, 95 % CI {seen.low:.2f} to {seen.high:.2f}"
    wanted = "" if found.min_kappa is None else f", {found.min_kappa:g} required"
    lines = [
        f"{found.metric}: {found.outcome}",
        f"  kappa      {kappa}{wanted}",
        f"  agreement  {seen.share:.0%} of {seen.cases} cases, {seen.yes} of them with the label yes",
        f"  wrong      {seen.false_yes:g} × yes where the label is no, {seen.false_no:g} × no where it is yes",
    ]
    if found.repeat > 1:
        lines.append(f"  repeated   {_steadiness(found)}")
    lines += [f"  {words}" for words in ((seen.lack,) if seen.lack else ())]
    lines += [f"  {name}: no answer: {reason}" for name, reason in found.unanswered.items()]
    for one in found.disagreements[:_SHOWN]:
        scores = ", ".join(f"{value:.2f}" for value in one.values)
        lines.append(f"  {one.id}: the label is {'yes' if one.label else 'no'}, the score {scores}: {one.reason}")
    if (more := len(found.disagreements) - _SHOWN) > 0:
        lines.append(f"  and {more} more cases; --format json has all")
    return lines


def _steadiness(found: JudgeQuality) -> str:
    if found.deviation is None:
        return "nothing to compare: no case was answered twice"
    steady = found.steady
    interval = f"95 % CI {100 * steady.low:.0f}–{100 * steady.high:.0f}"
    return (
        f"the scores of one case differ by ± {found.deviation:.2f} (standard deviation); the verdict stays the same in "
        f"{steady.share:.0%} of {steady.total} cases ({interval})"
    )
