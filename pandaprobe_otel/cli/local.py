"""`pandaprobe-otel local`: a PandaProbe on this machine, until Ctrl-C."""

from __future__ import annotations

from pathlib import Path

import click

from pandaprobe_otel.cli.exits import ExitCode
from pandaprobe_otel.cli.extras import require


@click.command("local")
@click.option("--port", type=click.IntRange(0, 65535), default=8787, show_default=True, help="0: any free port.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--db",
    metavar="FILE|:memory:",
    default=":memory:",
    show_default=True,
    help="Where traces are kept: an SQLite file, or memory, which is gone with the process.",
)
def local(port: int, host: str, db: str) -> int:
    """Run a local PandaProbe: the same HTTP API, and web pages to look at traces.

    Point programs at it with PANDAPROBE_ENDPOINT; any API key is accepted.
    """
    require("local", "fastapi", "uvicorn", "jinja2")
    from pandaprobe_otel.local import DatabaseInUseError, serve

    database = db if db == ":memory:" else str(Path(db).expanduser())
    try:
        serve(db=database, host=host, port=port)
    except DatabaseInUseError as error:
        click.echo(f"pandaprobe-otel: {error}", err=True)
        return ExitCode.GENERAL
    return ExitCode.OK
