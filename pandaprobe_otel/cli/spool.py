"""`pandaprobe-otel spool`: requests that wait on disk, and those that the server refused."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Final

import click

from pandaprobe_otel.cli.exit_codes import ExitCode
from pandaprobe_otel.cli.options import counted, format_option, option, print_json
from pandaprobe_otel.cli.show import show_rows

_FILE_COLUMNS: Final = {
    "state": "state",
    "pid": "process",
    "project": "project",
    "endpoint": "endpoint",
    "requests": "requests",
    "spans": "spans",
    "bytes": "bytes",
    "name": "file",
}
_REFUSED_COLUMNS: Final = {
    "file": "file",
    "line": "line",
    "at": "refused at",
    "project": "project",
    "request": "request",
    "name": "name",
    "spans": "spans",
    "server": "server",
}


_spool_option = option(
    "--spool directory",
    "Spool directory. [default: the setting `spool` (PANDAPROBE_SPOOL_DIR)]",
    click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
)


@click.group("spool")
def spool() -> None:
    """Show a spool directory, or let its requests be sent with another key. Safe while services run."""


@spool.command("ls")
@_spool_option
@format_option
def ls(directory: Path | None, output_format: str) -> int:
    """List the waiting and the refused requests."""
    from pandaprobe_otel.delivery.spool.inspection import refusals, reports

    folder = _folder(directory)
    files, refused = [asdict(file) for file in reports(folder)], [asdict(one) for one in refusals(folder)]
    if output_format == "json":
        print_json({"files": files, "refused": refused})
        return ExitCode.OK
    click.echo(f"{folder}: {len(files)} files, {len(refused)} refused requests")
    for columns, rows in ((_FILE_COLUMNS, files), (_REFUSED_COLUMNS, refused)):
        if rows:
            show_rows([{name: row[key] for key, name in columns.items()} for row in rows], [*columns.values()])
    return ExitCode.OK


@spool.command("adopt")
@_spool_option
def adopt(directory: Path | None) -> int:
    """Let requests that wait for this endpoint and project under another API key be sent with the current one.

    They are sent by a process that uses the directory with the same settings: at once if one is running, otherwise by
    the next one.
    """
    from pandaprobe_otel.config.resolve import Config
    from pandaprobe_otel.delivery.spool.destination import Destination
    from pandaprobe_otel.delivery.spool.inspection import take_to

    folder, config = _folder(directory), Config.resolve()
    if config.fixed_key is None:
        raise click.UsageError("`spool adopt` needs the key to send with: set PANDAPROBE_API_KEY.")
    to = Destination(endpoint=config.endpoint, project=config.project_name, api_key=config.fixed_key)
    click.echo(f"Moved to this key: {counted(take_to(folder, to), 'waiting request')}.")
    return ExitCode.OK


def _folder(directory: Path | None) -> Path:
    from pandaprobe_otel.config.resolve import Config

    named = str(directory) if directory is not None else Config.resolve().spool
    if not named:
        raise click.UsageError("no spool directory: pass --spool DIR or set PANDAPROBE_SPOOL_DIR.")
    folder = Path(named).expanduser()
    if not folder.is_dir():
        raise click.UsageError(f"{folder} is not a directory.")
    return folder
