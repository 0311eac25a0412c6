"""`pandaprobe-otel scores`, `evals` and `monitors`: read scores, and judge traces and sessions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

import click

from pandaprobe_otel.api.runs import RunFilters, RunListQuery
from pandaprobe_otel.cli.agreement import agreement
from pandaprobe_otel.cli.evaluate import comment, compare, gate, run
from pandaprobe_otel.cli.exit_codes import ExitCode
from pandaprobe_otel.cli.options import (
    MOST,
    NEW_FILE,
    SECONDS,
    console,
    counted,
    flag,
    option,
    print_json,
    with_client,
)
from pandaprobe_otel.cli.rows import Row, all_option, group_of, options_of, whole_list
from pandaprobe_otel.cli.show import as_json, show
from pandaprobe_otel.cli.value_types import JSON_OBJECT
from pandaprobe_otel.traces.text import plain_text

if TYPE_CHECKING:
    from pandaprobe_otel.api import Client, MonitorPlan, Run
    from pandaprobe_otel.api.models import RunTemplate

scores: Final = group_of(
    "scores",
    "Add, list, change and summarise scores.",
    {
        "list": Row(call="scores.list", every="scores.iter", help="List the scores of traces, the latest first."),
        "get": Row(call="scores.of_trace", help="Show the latest score of each name for a trace."),
        "update": Row(call="scores.update", help="Change a score. Its source becomes ANNOTATION."),
        "delete": Row(call="scores.delete", help="Delete a score."),
        "summary": Row(call="scores.summary", help="Show the average, extremes and count of each metric."),
        "trend": Row(call="scores.trend", help="Show the averages of a metric over time."),
        "distribution": Row(call="scores.distribution", help="Show the histogram of a metric."),
    },
)
_sessions: Final = group_of(
    "sessions",
    "Read the scores of sessions, which evaluation runs create.",
    {
        "list": Row(
            call="scores.sessions.list",
            every="scores.sessions.iter",
            help="List the scores of sessions, the latest first.",
        ),
        "get": Row(call="scores.sessions.of_session", help="Show all scores of a session."),
        "delete": Row(call="scores.sessions.delete", help="Delete a score of a session."),
        "summary": Row(
            call="scores.sessions.summary", help="Show the average, extremes and count of each metric of sessions."
        ),
        "trend": Row(call="scores.sessions.trend", help="Show the averages of a metric of sessions over time."),
        "distribution": Row(call="scores.sessions.distribution", help="Show the histogram of a metric of sessions."),
        "history": Row(call="scores.sessions.history", help="Show the scores of a session over time."),
        "comparison": Row(
            call="scores.sessions.comparison",
            every="scores.sessions.iter_comparison",
            help="Rank sessions by a metric, the worst first.",
        ),
    },
)
scores.add_command(_sessions)


@scores.command("submit")
@click.argument("trace_id")
@click.argument("name")
@click.argument("value")
@option("--type kind", "Type of the value. [default: derived from the value]", ["number", "boolean", "label"])
@option("--reason", "Reason for the score.")
@option("--metadata", "JSON object that is stored with the score.", JSON_OBJECT)
@option("--source", None, ["PROGRAMMATIC", "ANNOTATION"], "PROGRAMMATIC")
@option("--wait", "Seconds to wait until the trace exists.", SECONDS, 30.0)
@with_client
def submit(
    client: Client, trace_id: str, name: str, value: str, kind: str | None, output_format: str, **options: Any
) -> None:
    """Add a score to a trace: a number from 0 to 1, true or false, or a label."""
    score = client.scores.create(trace_id, name, _typed(value, kind), **options)
    show(score, output_format)


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


def _show_template(found: RunTemplate, output_format: str) -> None:
    if output_format == "json":
        show(found, output_format)
        return
    out = console()
    out.print(f"{found.metric.name}: {found.metric.description}", markup=False)
    out.print(f"threshold {found.metric.default_threshold:g}, model {found.model or '-'}", markup=False)
    for preview in found.metric.prompt_preview:
        out.print(f"\n[{preview.stage}]\n{preview.prompt}", markup=False)


def _show_state(run: Run, output_format: str) -> None:
    show(run.state, output_format)


def _show_scores(run: Run, output_format: str) -> None:
    show(run.result().scores, output_format)


evals: Final = group_of(
    "evals",
    "Judge traces and sessions.",
    {
        "providers": Row(call="evaluations.providers", help="List the providers of judge models."),
        "template": Row(
            call="evaluations.template",
            show=_show_template,
            help="Show the inputs of a metric and the judge's prompts.",
        ),
    },
)
_runs: Final = group_of(
    "runs",
    "List, wait for, repeat and delete runs, and read their scores.",
    {
        "get": Row(call="evaluations.get", show=_show_state, help="Show the state of a run."),
        "scores": Row(call="evaluations.get", show=_show_scores, help="Show the scores of a run."),
    },
)
monitors: Final = group_of(
    "monitors",
    "Manage scheduled evaluation runs, one by one or from a file.",
    {
        "list": Row(call="monitors.list", every="monitors.iter", help="List monitors."),
        "get": Row(call="monitors.get", help="Show a monitor."),
        "create": Row(
            call="monitors.create",
            help='Create a monitor: --cadence is every_6h, daily, weekly or "cron:0 3 * * 1".',
        ),
        "update": Row(call="monitors.update", help="Change a monitor. Omitted fields stay unchanged."),
        "delete": Row(call="monitors.delete", help="Delete a monitor. Its runs stay."),
        "pause": Row(call="monitors.pause", help="Pause a monitor."),
        "resume": Row(call="monitors.resume", help="Resume a monitor."),
        "trigger": Row(call="monitors.trigger", help="Run a monitor now, even if it is paused."),
        "runs": Row(
            call="monitors.runs", every="monitors.iter_runs", help="List the runs of a monitor, the latest first."
        ),
    },
)
for _command in (run, gate, compare, comment, agreement, _runs):
    evals.add_command(_command)


@evals.command("metrics")
@with_client
def metrics(client: Client, output_format: str) -> None:
    """List the metrics of traces and of sessions."""
    show([*client.evaluations.trace_metrics(), *client.evaluations.session_metrics()], output_format)


@evals.command("start")
@option("-m --metric metrics", "Metric. May be repeated.", multiple=True, metavar="NAME")
@option("--trace traces", "Id of a trace to judge. May be repeated.", multiple=True, metavar="ID")
@option("--session sessions", "Id of a session to judge. May be repeated.", multiple=True, metavar="ID")
@options_of(RunFilters)
@flag("--all everything", "Evaluate everything in the project.")
@option("--sampling-rate", "Share of the matches to evaluate.", click.FloatRange(0, 1, min_open=True))
@option("--max-evals", "Start nothing if more may be billed.", MOST, metavar="N")
@option("--name", "Label of the run.")
@option("--model", "Judge model. [default: the server's]")
@option("--signal-weights", "For sessions: weight of each signal.", JSON_OBJECT, metavar="JSON")
@with_client
def start(
    client: Client,
    metrics: Sequence[str],
    traces: Sequence[str],
    sessions: Sequence[str],
    given: dict[str, Any],
    max_evals: int | None,
    everything: bool,
    sampling_rate: float | None,
    name: str | None,
    model: str | None,
    signal_weights: dict[str, float] | None,
    output_format: str,
) -> None:
    """Start an evaluation run on the server, over traces, sessions, the traces that match filters, or everything.

    Each pair of target and metric is billed. Their number is printed to standard error before the run starts. `evals
    runs wait` waits for the scores. To judge given traces or sessions by thresholds, use `evals run`.
    """
    metrics = list(dict.fromkeys(metrics))
    if not metrics or not (traces or sessions or given or everything):
        raise click.UsageError(
            "nothing to evaluate: pass --metric, and --trace, --session, a filter such as --tag, or --all"
        )
    is_share = bool(given) or sampling_rate is not None
    _announce(client, metrics, traces, sessions, is_share=is_share, max_evals=max_evals)
    run = client.evaluations.run(
        metrics,
        traces=traces or None,
        session=sessions or None,
        everything=everything,
        sampling_rate=sampling_rate,
        name=name,
        model=model,
        signal_weights=signal_weights,
        **given,
    )
    show(run.state, output_format)


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


@_runs.command("list")
@options_of(RunListQuery)
@flag("--sessions of_sessions", "Runs that evaluate sessions.")
@all_option
@with_client
def list_runs(client: Client, given: dict[str, Any], of_sessions: bool, everything: bool, output_format: str) -> None:
    """List runs, the latest first."""
    part = client.evaluations.session_runs if of_sessions else client.evaluations.trace_runs
    show(whole_list(part.iter, given) if everything else part.list(**given), output_format)


@_runs.command("wait")
@click.argument("run_id")
@option("--wait-timeout", "Timeout in seconds.", SECONDS, 300.0, metavar="SECONDS")
@with_client
def wait_for_run(client: Client, run_id: str, wait_timeout: float, output_format: str) -> int:
    """Wait for a run and print its scores.

    Exit code 6: not every target has a score for every metric, or there was nothing to judge.
    """
    result = client.evaluations.get(run_id).wait(wait_timeout)
    if output_format == "json":
        missing = result.missing_count
        print_json({"ok": result.ok, "run": as_json(result.run), "scores": result.rows(), "missing_count": missing})
    else:
        click.echo(plain_text(str(result)))
    return ExitCode.OK if result.ok else ExitCode.NO_EVIDENCE


@_runs.command("retry")
@click.argument("run_id")
@with_client
def retry(client: Client, run_id: str, output_format: str) -> None:
    """Start a new run over the pairs of target and metric that failed in a run."""
    show(client.evaluations.get(run_id).retry_failed().state, output_format)


@_runs.command("delete")
@click.argument("run_id")
@flag("--delete-scores", "Also delete the scores of the run.")
@with_client
def delete_run(client: Client, run_id: str, delete_scores: bool, output_format: str) -> None:
    """Delete a run, and keep its scores unless --delete-scores is given."""
    client.evaluations.get(run_id).delete(delete_scores=delete_scores)
    if output_format == "table":
        click.echo(f"deleted run {run_id}")


_prune_option = flag("--prune", "Delete the monitors that the file does not declare.")


@monitors.command("diff")
@click.argument("file", type=NEW_FILE)
@_prune_option
@with_client
def diff(client: Client, file: str, prune: bool, output_format: str) -> None:
    """Show the changes that `apply` would make, and change nothing."""
    _show_plan(client.monitors.plan(file, prune=prune), output_format)


@monitors.command("apply")
@click.argument("file", type=NEW_FILE)
@_prune_option
@with_client
def apply(client: Client, file: str, prune: bool, output_format: str) -> None:
    """Create and change monitors, matched by name, as a TOML file declares them.

    \b
    [[monitor]]
    name = "nightly"
    target_type = "TRACE"
    metrics = ["task_completion"]
    cadence = "daily"
    sampling_rate = 0.2
    filters = { tags = ["production"] }
    paused = false
    """
    _show_plan(client.monitors.apply(file, prune=prune), output_format)


def _show_plan(plan: MonitorPlan, output_format: str) -> None:
    if output_format == "json":
        print_json(asdict(plan))
    else:
        click.echo(str(plan) or "the file declares no monitors: add a [[monitor]] table")
