"""`pandaprobe-otel evals`: judge traces and sessions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from pandaprobe_otel.api.runs import RunFilters, RunListQuery
from pandaprobe_otel.cli.agreement import agreement
from pandaprobe_otel.cli.api_client import with_client
from pandaprobe_otel.cli.argument_options import options_of
from pandaprobe_otel.cli.monitors import monitors
from pandaprobe_otel.cli.options import console
from pandaprobe_otel.cli.plurals import counted
from pandaprobe_otel.cli.run_report import report, thresholds_of
from pandaprobe_otel.cli.scores import scores
from pandaprobe_otel.cli.show import all_option, deleted, show, show_list
from pandaprobe_otel.cli.value_types import Json, Metric, Threshold

if TYPE_CHECKING:
    from pandaprobe_otel.api import Client

_wait_options = (
    click.option("--wait", is_flag=True, help="Wait for the scores and print them."),
    click.option(
        "--wait-timeout",
        type=click.FloatRange(min=0),
        default=300.0,
        show_default=True,
        metavar="SECONDS",
        help="With --wait: timeout in seconds.",
    ),
    click.option(
        "--threshold",
        "thresholds",
        type=Threshold(),
        multiple=True,
        metavar="NUMBER|METRIC=NUMBER",
        help="With --wait: lowest passing score. Exit code 1 if missed, 6 without evidence. May be repeated.",
    ),
    click.option(
        "--allow-no-evidence",
        is_flag=True,
        help="With --wait: exit with code 0 if nothing failed, even without evidence.",
    ),
)
_sessions_option = click.option("--sessions", "of_sessions", is_flag=True, help="Runs that evaluate sessions.")


def waiting(command: Any) -> Any:
    """Give a command the options for waiting until a run has ended."""
    for option in reversed(_wait_options):
        command = option(command)
    return command


@click.group("evals")
def evals() -> None:
    """Judge traces and sessions."""


@evals.command("metrics")
@with_client
def metrics(client: Client, output_format: str) -> None:
    """List the metrics of traces and of sessions."""
    show([*client.evaluations.trace_metrics(), *client.evaluations.session_metrics()], output_format)


@evals.command("providers")
@with_client
def providers(client: Client, output_format: str) -> None:
    """List the providers of judge models."""
    show(client.evaluations.providers(), output_format)


@evals.command("template")
@click.argument("metric")
@with_client
def template(client: Client, metric: str, output_format: str) -> None:
    """Show the inputs of a metric and the judge's prompts."""
    found = client.evaluations.template(metric)
    if output_format == "json":
        show(found, output_format)
        return
    out = console()
    out.print(f"{found.metric.name}: {found.metric.description}", markup=False)
    out.print(f"threshold {found.metric.default_threshold:g}, model {found.model or '-'}", markup=False)
    for preview in found.metric.prompt_preview:
        out.print(f"\n[{preview.stage}]\n{preview.prompt}", markup=False)


@click.command("run")
@click.option(
    "-m",
    "--metric",
    "named",
    type=Metric(),
    multiple=True,
    required=True,
    metavar="NAME[=MIN]",
    help="Metric, with --wait also the lowest passing score (NAME=MIN). May be repeated.",
)
@click.option("--trace", "traces", multiple=True, metavar="ID", help="Id of a trace to judge. May be repeated.")
@click.option("--session", "sessions", multiple=True, metavar="ID", help="Id of a session to judge. May be repeated.")
@options_of(RunFilters)
@click.option("--all", "everything", is_flag=True, help="Evaluate everything in the project.")
@click.option("--sampling-rate", type=click.FloatRange(0, 1, min_open=True), help="Share of the matches to evaluate.")
@click.option("--max-evals", type=click.IntRange(min=0), metavar="N", help="Start nothing if more may be billed.")
@click.option("--name", help="Label of the run.")
@click.option("--model", help="Judge model. [default: the server's]")
@click.option(
    "--signal-weights", type=Json(is_object=True), metavar="JSON", help="For sessions: weight of each signal."
)
@waiting
@with_client
def run(
    client: Client,
    named: Sequence[tuple[str, float | None]],
    traces: Sequence[str],
    sessions: Sequence[str],
    given: dict[str, Any],
    max_evals: int | None,
    wait: bool,
    wait_timeout: float,
    allow_no_evidence: bool,
    thresholds: Sequence[tuple[str, float]],
    output_format: str,
    **options: Any,
) -> int | None:
    """Start an evaluation run over traces, sessions, the traces that match filters, or everything.

    Each pair of target and metric is billed. Their number is printed to standard error before the run starts.
    """
    own = {name: value for name, value in named if value is not None}
    metrics = list(dict(named))
    wanted = thresholds_of(thresholds, metrics, own)
    if wanted and not wait:
        raise click.UsageError("--threshold needs --wait")
    if not (traces or sessions or given or options["everything"]):
        raise click.UsageError("nothing to evaluate: pass --trace, --session, a filter such as --tag, or --all")
    is_share = bool(given) or options["sampling_rate"] is not None
    _announce(client, metrics, traces, sessions, is_share=is_share, max_evals=max_evals)
    started = client.evaluations.run(metrics, traces=traces or None, session=sessions or None, **given, **options)
    if not wait:
        show(started.state, output_format)
        return None
    return report(started.wait(wait_timeout), wanted, output_format, allow_no_evidence=allow_no_evidence)


def _announce(
    client: Client,
    metrics: Sequence[str],
    traces: Sequence[str],
    sessions: Sequence[str],
    *,
    is_share: bool,
    max_evals: int | None,
) -> None:
    """Print the number of evaluations. Raises UsageError if there may be more than `max_evals`."""
    of_sessions = {metric.name for metric in client.evaluations.session_metrics()}.issuperset(metrics)
    if traces or (sessions and of_sessions):
        targets = len({*traces} or {*sessions})
    elif of_sessions:
        targets = client.sessions.list(limit=1).total
    else:
        targets = sum(client.traces.list(limit=1, session_id=session).total for session in sessions or (None,))
    most = "at most " if is_share and not traces else ""
    what = "session" if of_sessions else "trace"
    total = targets * len(metrics)
    line = f"{most}{counted(targets, what)} × {counted(len(metrics), 'metric')} = {counted(total, 'evaluation')}"
    if max_evals is not None and total > max_evals:
        raise click.UsageError(f"{line}, more than --max-evals={max_evals}: nothing was started.")
    click.echo(f"{line}, billed", err=True)


evals.add_command(run)
evals.add_command(agreement)


@evals.group("runs")
def runs() -> None:
    """List, wait for, repeat and delete runs, and read their scores."""


runs.add_command(run, "create")


@runs.command("list")
@options_of(RunListQuery)
@_sessions_option
@all_option
@with_client
def list_runs(client: Client, given: dict[str, Any], of_sessions: bool, everything: bool, output_format: str) -> None:
    """List runs, the latest first."""
    part = client.evaluations.session_runs if of_sessions else client.evaluations.trace_runs
    show_list(part.list, part.iter, given, everything, output_format)


@runs.command("get")
@click.argument("run_id")
@with_client
def get_run(client: Client, run_id: str, output_format: str) -> None:
    """Show the state of a run."""
    show(client.evaluations.get(run_id).state, output_format)


@runs.command("wait")
@click.argument("run_id")
@waiting
@with_client
def wait_for_run(
    client: Client,
    run_id: str,
    wait: bool,
    wait_timeout: float,
    allow_no_evidence: bool,
    thresholds: Sequence[tuple[str, float]],
    output_format: str,
) -> int:
    """Wait for a run and print its scores."""
    found = client.evaluations.get(run_id)
    wanted = thresholds_of(thresholds, found.state.metric_names)
    return report(found.wait(wait_timeout), wanted, output_format, allow_no_evidence=allow_no_evidence)


@runs.command("scores")
@click.argument("run_id")
@with_client
def run_scores(client: Client, run_id: str, output_format: str) -> None:
    """Show the scores of a run."""
    show(client.evaluations.get(run_id).result().scores, output_format)


@runs.command("retry")
@click.argument("run_id")
@waiting
@with_client
def retry(
    client: Client,
    run_id: str,
    wait: bool,
    wait_timeout: float,
    allow_no_evidence: bool,
    thresholds: Sequence[tuple[str, float]],
    output_format: str,
) -> int | None:
    """Start a new run over the pairs of target and metric that failed in a run."""
    again = client.evaluations.get(run_id).retry_failed()
    if not wait:
        show(again.state, output_format)
        return None
    wanted = thresholds_of(thresholds, again.state.metric_names)
    return report(again.wait(wait_timeout), wanted, output_format, allow_no_evidence=allow_no_evidence)


@runs.command("delete")
@click.argument("run_id")
@click.option("--delete-scores", is_flag=True, help="Also delete the scores of the run.")
@with_client
def delete_run(client: Client, run_id: str, delete_scores: bool, output_format: str) -> None:
    """Delete a run, and keep its scores unless --delete-scores is given."""
    client.evaluations.get(run_id).delete(delete_scores=delete_scores)
    deleted(f"run {run_id}", output_format)


# PandaProbe's own command has these two commands under the name `evals` too.
evals.add_command(monitors)
evals.add_command(scores)
