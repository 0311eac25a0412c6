"""`pandaprobe-otel scores`: add, list, change and summarise scores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from pandaprobe_otel.api.scores import (
    Dates,
    ScoreDistributionQuery,
    ScoreListQuery,
    ScoreTrendQuery,
    SessionComparisonQuery,
    SessionHistoryQuery,
    SessionScoreListQuery,
)
from pandaprobe_otel.cli.api_client import with_client
from pandaprobe_otel.cli.argument_options import options_of
from pandaprobe_otel.cli.show import all_option, deleted, show, show_list
from pandaprobe_otel.cli.value_types import Json

if TYPE_CHECKING:
    from pandaprobe_otel.api import Client

_TYPES = click.Choice(["number", "boolean", "label"])


@click.group("scores")
def scores() -> None:
    """Add, list, change and summarise scores."""


@scores.command("submit")
@click.argument("trace_id")
@click.argument("name")
@click.argument("value")
@click.option("--type", "kind", type=_TYPES, help="Type of the value. [default: derived from the value]")
@click.option("--reason", help="Reason for the score.")
@click.option(
    "--metadata", type=Json(is_object=True), metavar="JSON|@FILE", help="JSON object that is stored with the score."
)
@click.option("--source", type=click.Choice(["PROGRAMMATIC", "ANNOTATION"]), default="PROGRAMMATIC", show_default=True)
@click.option(
    "--wait",
    type=click.FloatRange(min=0),
    default=30.0,
    show_default=True,
    help="Seconds to wait until the trace exists.",
)
@with_client
def submit(
    client: Client, trace_id: str, name: str, value: str, kind: str | None, output_format: str, **options: Any
) -> None:
    """Add a score to a trace: a number from 0 to 1, true or false, or a label."""
    score = client.scores.create(trace_id, name, _typed(value, kind), **options)
    show(score, output_format)


@scores.command("list")
@options_of(ScoreListQuery)
@all_option
@with_client
def list_scores(client: Client, given: dict[str, Any], everything: bool, output_format: str) -> None:
    """List the scores of traces, the latest first."""
    show_list(client.scores.list, client.scores.iter, given, everything, output_format)


@scores.command("get")
@click.argument("trace_id")
@with_client
def get_scores(client: Client, trace_id: str, output_format: str) -> None:
    """Show the latest score of each name for a trace."""
    show(client.scores.of_trace(trace_id), output_format)


@scores.command("update")
@click.argument("score_id")
@click.option("--value", help="New value: a number from 0 to 1, true or false, or a label.")
@click.option("--reason", help="Reason for the score.")
@click.option(
    "--metadata", type=Json(is_object=True), metavar="JSON|@FILE", help="JSON object that replaces the old one."
)
@with_client
def update(client: Client, score_id: str, output_format: str, **changes: Any) -> None:
    """Change a score. Its source becomes ANNOTATION."""
    show(client.scores.update(score_id, **changes), output_format)


@scores.command("delete")
@click.argument("score_id")
@with_client
def delete(client: Client, score_id: str, output_format: str) -> None:
    """Delete a score."""
    client.scores.delete(score_id)
    deleted(f"score {score_id}", output_format)


@scores.command("summary")
@options_of(Dates)
@with_client
def summary(client: Client, given: dict[str, Any], output_format: str) -> None:
    """Show the average, extremes and count of each metric."""
    show(client.scores.summary(**given), output_format)


@scores.command("trend")
@click.argument("metric_name", metavar="METRIC")
@options_of(ScoreTrendQuery, without=("metric_name",))
@with_client
def trend(client: Client, metric_name: str, given: dict[str, Any], output_format: str) -> None:
    """Show the averages of a metric over time."""
    show(client.scores.trend(metric_name=metric_name, **given), output_format)


@scores.command("distribution")
@click.argument("metric_name", metavar="METRIC")
@options_of(ScoreDistributionQuery, without=("metric_name",))
@with_client
def distribution(client: Client, metric_name: str, given: dict[str, Any], output_format: str) -> None:
    """Show the histogram of a metric."""
    show(client.scores.distribution(metric_name=metric_name, **given), output_format)


@scores.group("sessions")
def of_sessions() -> None:
    """Read the scores of sessions, which evaluation runs create."""


@of_sessions.command("list")
@options_of(SessionScoreListQuery)
@all_option
@with_client
def list_session_scores(client: Client, given: dict[str, Any], everything: bool, output_format: str) -> None:
    """List the scores of sessions, the latest first."""
    part = client.scores.sessions
    show_list(part.list, part.iter, given, everything, output_format)


@of_sessions.command("get")
@click.argument("session_id")
@with_client
def get_session_scores(client: Client, session_id: str, output_format: str) -> None:
    """Show all scores of a session."""
    show(client.scores.sessions.of_session(session_id), output_format)


@of_sessions.command("delete")
@click.argument("score_id")
@with_client
def delete_session_score(client: Client, score_id: str, output_format: str) -> None:
    """Delete a score of a session."""
    client.scores.sessions.delete(score_id)
    deleted(f"score {score_id}", output_format)


@of_sessions.command("summary")
@options_of(Dates)
@with_client
def session_summary(client: Client, given: dict[str, Any], output_format: str) -> None:
    """Show the average, extremes and count of each metric of sessions."""
    show(client.scores.sessions.summary(**given), output_format)


@of_sessions.command("trend")
@click.argument("metric_name", metavar="METRIC")
@options_of(ScoreTrendQuery, without=("metric_name",))
@with_client
def session_trend(client: Client, metric_name: str, given: dict[str, Any], output_format: str) -> None:
    """Show the averages of a metric of sessions over time."""
    show(client.scores.sessions.trend(metric_name=metric_name, **given), output_format)


@of_sessions.command("distribution")
@click.argument("metric_name", metavar="METRIC")
@options_of(ScoreDistributionQuery, without=("metric_name",))
@with_client
def session_distribution(client: Client, metric_name: str, given: dict[str, Any], output_format: str) -> None:
    """Show the histogram of a metric of sessions."""
    show(client.scores.sessions.distribution(metric_name=metric_name, **given), output_format)


@of_sessions.command("history")
@click.argument("session_id")
@options_of(SessionHistoryQuery)
@with_client
def history(client: Client, session_id: str, given: dict[str, Any], output_format: str) -> None:
    """Show the scores of a session over time."""
    show(client.scores.sessions.history(session_id, **given), output_format)


@of_sessions.command("comparison")
@click.argument("metric_name", metavar="METRIC")
@options_of(SessionComparisonQuery, without=("metric_name",))
@all_option
@with_client
def comparison(client: Client, metric_name: str, given: dict[str, Any], everything: bool, output_format: str) -> None:
    """Rank sessions by a metric, the worst first."""
    part = client.scores.sessions
    given = {**given, "metric_name": metric_name}
    show_list(part.comparison, part.iter_comparison, given, everything, output_format)


def _typed(value: str, kind: str | None) -> float | bool | str:
    """Return the typed value of a text: a number or boolean if the text looks like one and no type is given."""
    if kind == "label":
        return value
    if value.lower() in ("true", "false") and kind != "number":
        return value.lower() == "true"
    if kind == "boolean":
        raise click.UsageError(f"{value!r} is neither true nor false")
    try:
        return float(value)
    except ValueError:
        if kind == "number":
            raise click.UsageError(f"{value!r} is not a number") from None
        return value
