"""`pandaprobe-otel monitors`: scheduled evaluation runs, one by one or from a file."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from pandaprobe_otel.api.fields import Paging
from pandaprobe_otel.api.monitors import MonitorArguments, MonitorChanges, MonitorListQuery
from pandaprobe_otel.cli.api_client import with_client
from pandaprobe_otel.cli.argument_options import options_of
from pandaprobe_otel.cli.options import print_json
from pandaprobe_otel.cli.run_report import report
from pandaprobe_otel.cli.show import all_option, deleted, show, show_list

if TYPE_CHECKING:
    from pandaprobe_otel.api import Client, MonitorPlan

_prune_option = click.option("--prune", is_flag=True, help="Delete the monitors that the file does not declare.")


@click.group("monitors")
def monitors() -> None:
    """Manage scheduled evaluation runs, one by one or from a file."""


@monitors.command("list")
@options_of(MonitorListQuery)
@all_option
@with_client
def list_monitors(client: Client, given: dict[str, Any], everything: bool, output_format: str) -> None:
    """List monitors."""
    show_list(client.monitors.list, client.monitors.iter, given, everything, output_format)


@monitors.command("get")
@click.argument("monitor_id")
@with_client
def get_monitor(client: Client, monitor_id: str, output_format: str) -> None:
    """Show a monitor."""
    show(client.monitors.get(monitor_id), output_format)


@monitors.command("create")
@options_of(MonitorArguments)
@with_client
def create(client: Client, given: dict[str, Any], output_format: str) -> None:
    """Create a monitor: --cadence is every_6h, daily, weekly or "cron:0 3 * * 1"."""
    monitor: Any = given
    show(client.monitors.create(**monitor), output_format)


@monitors.command("update")
@click.argument("monitor_id")
@options_of(MonitorChanges)
@with_client
def update(client: Client, monitor_id: str, given: dict[str, Any], output_format: str) -> None:
    """Change a monitor. Omitted fields stay unchanged."""
    changes: Any = given
    show(client.monitors.update(monitor_id, **changes), output_format)


@monitors.command("delete")
@click.argument("monitor_id")
@with_client
def delete(client: Client, monitor_id: str, output_format: str) -> None:
    """Delete a monitor. Its runs stay."""
    client.monitors.delete(monitor_id)
    deleted(f"monitor {monitor_id}", output_format)


@monitors.command("pause")
@click.argument("monitor_id")
@with_client
def pause(client: Client, monitor_id: str, output_format: str) -> None:
    """Pause a monitor."""
    show(client.monitors.pause(monitor_id), output_format)


@monitors.command("resume")
@click.argument("monitor_id")
@with_client
def resume(client: Client, monitor_id: str, output_format: str) -> None:
    """Resume a monitor."""
    show(client.monitors.resume(monitor_id), output_format)


@monitors.command("trigger")
@click.argument("monitor_id")
@click.option("--wait", is_flag=True, help="Wait for the scores and print them.")
@click.option("--wait-timeout", type=click.FloatRange(min=0), default=300.0, show_default=True, metavar="SECONDS")
@with_client
def trigger(client: Client, monitor_id: str, wait: bool, wait_timeout: float, output_format: str) -> int | None:
    """Run a monitor now, even if it is paused."""
    started = client.monitors.trigger(monitor_id)
    if not wait:
        show(started, output_format)
        return None
    return report(client.evaluations.get(started.id).wait(wait_timeout), {}, output_format)


@monitors.command("runs")
@click.argument("monitor_id")
@options_of(Paging)
@all_option
@with_client
def list_runs(client: Client, monitor_id: str, given: dict[str, Any], everything: bool, output_format: str) -> None:
    """List the runs of a monitor, the latest first."""
    list_page, iterate = partial(client.monitors.runs, monitor_id), partial(client.monitors.iter_runs, monitor_id)
    show_list(list_page, iterate, given, everything, output_format)


@monitors.command("diff")
@click.argument("file", type=click.Path(dir_okay=False))
@_prune_option
@with_client
def diff(client: Client, file: str, prune: bool, output_format: str) -> None:
    """Show the changes that `apply` would make, and change nothing."""
    _show_plan(client.monitors.plan(file, prune=prune), output_format)


@monitors.command("apply")
@click.argument("file", type=click.Path(dir_okay=False))
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
