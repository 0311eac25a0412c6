"""`pandaprobe-otel demo`: trace a small agent end to end, in a few seconds and without a key."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

import click

from pandaprobe_otel.cli.exit_codes import ExitCode
from pandaprobe_otel.cli.extras import require
from pandaprobe_otel.cli.options import flag, format_option, print_json

if TYPE_CHECKING:
    from pandaprobe_otel.demo.runner import Demonstration, Target


@click.command("demo")
@flag("--keep", "Keep the local PandaProbe and its pages running until Ctrl-C.")
@flag("--cloud", "Send to the server of your settings (PANDAPROBE_API_KEY, ...) instead.")
@format_option
def demo(keep: bool, cloud: bool, output_format: str) -> int:
    """Trace a small agent, read the traces back and show them.

    The agent is examples/quickstart.py; its model is scripted, so it needs no key and costs nothing. Without --cloud,
    PandaProbe runs in this process and keeps its data in memory. Exit code 0: the traces have all of the agent's model
    calls.
    """
    require("demo", "openai", "rich", *(() if cloud else ("fastapi", "uvicorn", "jinja2")))
    from pandaprobe_otel.config.resolve import Config
    from pandaprobe_otel.demo.runner import cloud_target, demonstrate, local_target

    as_json = output_format == "json"
    with _checked(cloud_target(Config.resolve())) if cloud else local_target() as target:
        click.echo(f"PandaProbe: {target.endpoint}, project {target.project_name}\n", err=as_json)
        result = demonstrate(target, show=_relay(to_stderr=as_json))
        if as_json:
            _print_json(result, target)
        else:
            _print(result)
            if result.ok:
                click.echo("\n" + _where(target, result, stays=keep or cloud))
        if keep and not cloud:
            _wait_for_interrupt()
    return ExitCode.OK if result.ok else ExitCode.GENERAL


def _checked(target: Target) -> AbstractContextManager[Target]:
    """Check the key before the agent runs, so that its traces will be accepted."""
    from pandaprobe_otel.cli.server_checks import require_key

    require_key(target.endpoint, target.api_key)
    return nullcontext(target)


def _relay(*, to_stderr: bool) -> Callable[[str], None]:
    stream = sys.stderr if to_stderr else sys.stdout

    def show(piece: str) -> None:
        stream.write(piece)
        stream.flush()

    return show


def _print(result: Demonstration) -> None:
    from pandaprobe_otel.traces.records import TraceRecord

    click.echo("\n" + "\n".join(str(TraceRecord(trace)) for trace in result.traces))
    if result.fault is not None:
        click.secho(f"\nWRONG  {result.fault}", fg="red")


def _where(target: Target, result: Demonstration, *, stays: bool) -> str:
    if not target.local:
        return f"Find it in PandaProbe: project {target.project_name}, session {result.run.session_id}."
    if not stays:
        return "Look at it in the browser: pandaprobe-otel demo --keep"
    pages = [f"  {target.endpoint}/ui/traces/{trace['trace_id']}" for trace in result.traces]
    return "\n".join(["Look at it:", *pages])


def _print_json(result: Demonstration, target: Target) -> None:
    print_json(
        {
            "ok": result.ok,
            "endpoint": target.endpoint,
            "project_name": target.project_name,
            "session_id": result.run.session_id,
            "agent_exit_code": result.run.exit_code,
            "fault": result.fault,
            "traces": list(result.traces),
        }
    )


def _wait_for_interrupt() -> None:
    click.echo("Ctrl-C ends it.", err=True)
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        click.echo("", err=True)
