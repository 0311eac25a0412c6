"""Result of an evaluation run in the terminal, and its exit code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from pandaprobe_otel.cli.exit_codes import ExitCode, exit_code_of_outcome
from pandaprobe_otel.cli.options import print_json
from pandaprobe_otel.cli.show import as_json, show_rows

if TYPE_CHECKING:
    from pandaprobe_otel.api import RunResult
    from pandaprobe_otel.evals.outcome import Outcome


def thresholds_of(
    given: Sequence[tuple[str, float]], metrics: Sequence[str], own: Mapping[str, float] | None = None
) -> dict[str, float]:
    """Return the threshold of each metric: its own (`NAME=MIN`), or the common one."""
    by_metric = dict(given) | dict(own or {})
    wanted = {name: by_metric.get(name, by_metric.get("")) for name in metrics}
    if unknown := sorted(by_metric.keys() - {"", *metrics}):
        raise click.UsageError(f"{unknown[0]} has a threshold but is not evaluated: name it with --metric too")
    return {name: threshold for name, threshold in wanted.items() if threshold is not None}


def report(
    result: RunResult, thresholds: Mapping[str, float], output_format: str, *, allow_no_evidence: bool = False
) -> ExitCode:
    """Print a result and return the exit code.

    1: a score is below its threshold. 6: none is below, but a pair has no score with evidence.
    """
    from pandaprobe_otel.evals.outcome import Outcome

    below = result.below(thresholds)
    outcome = Outcome.FAILED if below else Outcome.PASSED
    unknown = result.failed or result.missing_count or not result.scores or (thresholds and result.vacuous)
    if unknown and not below:
        outcome = Outcome.NO_EVIDENCE
    code = exit_code_of_outcome(outcome, allow_no_evidence=allow_no_evidence)
    if output_format == "json":
        print_json(_as_json(result, below, outcome, code))
        return code
    show_rows(result.rows())
    for words in _remarks(result, below):
        click.echo(words, err=True)
    return code


def _as_json(result: RunResult, below: Sequence[Any], outcome: Outcome, code: ExitCode) -> dict[str, Any]:
    return {
        "ok": code is ExitCode.OK,
        "outcome": outcome,
        "run": as_json(result.run),
        "scores": as_json(result.scores),
        "failed": [str(score.id) for score in result.failed],
        "below": [str(score.id) for score in below],
        "vacuous": [
            {"target": pair.target, "metric": pair.metric, "reason": reason} for pair, reason in result.vacuous.items()
        ],
        "missing": [{"target": pair.target, "metric": pair.metric} for pair in result.missing],
        "missing_count": result.missing_count,
    }


def _remarks(result: RunResult, below: Sequence[Any]) -> list[str]:
    counted = (
        (len(result.failed), "could not be evaluated (`evals runs retry` tries them again)"),
        (result.missing_count, "got no score: check that the targets exist in this project"),
        (len(result.vacuous), "scored 1.0 because there was nothing to judge"),
        (len(below), "under the threshold"),
    )
    return [f"{count} {words}" for count, words in counted if count]
