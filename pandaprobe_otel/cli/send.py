"""`pandaprobe-otel send`: send the traces that `init(local=...)` wrote to a file."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pandaprobe_otel.cli.exit_codes import ExitCode
from pandaprobe_otel.cli.options import COUNT, FILE, counted, format_option, option, print_json

if TYPE_CHECKING:
    from pandaprobe_otel.config.resolve import Config
    from pandaprobe_otel.delivery.send_file import Sent


@click.command("send")
@click.argument("file", type=FILE)
@option("--from-line", "First line to send.", COUNT, 1)
@option("--project project_name", "Project. [default: PANDAPROBE_PROJECT_NAME]", metavar="NAME")
@option("--endpoint", "Base URL of the PandaProbe server. [default: PANDAPROBE_ENDPOINT]", metavar="URL")
@option("--api-key", "API key. Prefer PANDAPROBE_API_KEY: other users of the machine can see arguments.", metavar="KEY")
@format_option
def send(file: Path, from_line: int, output_format: str, **connection: Any) -> int:
    """Send the traces of a file that `init(local=FILE)` or `traces export` wrote.

    The command keeps to the rate limit (100 traces a minute), so a large file takes time. Sending a line twice does not
    duplicate the trace, but each sent trace counts towards the plan's quota.
    """
    from pandaprobe_otel.cli.server_checks import require_key
    from pandaprobe_otel.delivery.send_file import send_file
    from pandaprobe_otel.transport.outcome import api_key_headers
    from pandaprobe_otel.transport.socket_transport import delivery_transport

    config = _config(connection)
    key = config.fixed_key or ""
    require_key(config.endpoint, key)
    result = send_file(
        file,
        delivery_transport(config.endpoint, api_key_headers(key, config.project_name)),
        config.project_name,
        from_line=from_line,
        progress=_show_line if sys.stderr.isatty() else None,
    )
    if output_format == "json":
        print_json({**asdict(result), "endpoint": config.endpoint, "project": config.project_name})
    else:
        _print(result, config)
    return ExitCode.API if result.dropped or result.scores_dropped or result.stopped_at else ExitCode.OK


def _config(connection: dict[str, Any]) -> Config:
    """Return the settings without PANDAPROBE_LOCAL, which may still name the file to send."""
    from pandaprobe_otel.config.resolve import Config
    from pandaprobe_otel.errors import ConfigError

    environ = {name: value for name, value in os.environ.items() if name != "PANDAPROBE_LOCAL"}
    config = Config.resolve({**connection, "enabled": True}, environ=environ)
    if fatal := [problem.message for problem in config.problems if problem.fatal]:
        raise ConfigError(" ".join(fatal).replace("; no traces are sent", ""))
    return config


def _show_line(line: int) -> None:
    click.echo(f"\rline {line}", err=True, nl=False)


def _print(result: Sent, config: Config) -> None:
    sent = f"{counted(result.traces, 'trace')}, {counted(result.spans, 'span')}"
    click.echo(f"{sent} sent to {config.endpoint}, project {config.project_name}")
    for reason, count in result.dropped.items():
        click.echo(f"{counted(count, 'span')} not sent: {reason} ({result.last_error})", err=True)
    for reason, count in result.scores_dropped.items():
        click.echo(f"{counted(count, 'score')} not sent: {reason} ({result.last_error})", err=True)
    for line, why in result.bad_lines[:10]:
        click.echo(f"line {line} skipped: {why}", err=True)
    if len(result.bad_lines) > 10:
        click.echo(f"and {counted(len(result.bad_lines) - 10, 'more line')} skipped", err=True)
    if result.stopped_at is not None:
        why = str(result.last_error).removesuffix(".")
        click.echo(f"Stopped: {why}. Fix that, then continue with --from-line {result.stopped_at}.", err=True)
