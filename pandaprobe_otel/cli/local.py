"""`pandaprobe-otel local`: a PandaProbe on this machine, until Ctrl-C."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import click

from pandaprobe_otel.cli.exit_codes import ExitCode
from pandaprobe_otel.cli.extras import require

_MEMORY = ":memory:"


@click.command("local")
@click.option("--port", type=click.IntRange(0, 65535), default=8787, show_default=True, help="0: any free port.")
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="Address to listen on; any but loopback needs --auth."
)
@click.option(
    "--db",
    metavar="FILE|:memory:",
    default=_MEMORY,
    show_default=True,
    help="SQLite file for the traces; in memory, they end with the process.",
)
@click.option("--auth", is_flag=True, help="Check API keys; without it, any key is accepted.")
@click.option("--api-key", "api_keys", multiple=True, metavar="KEY", help="API key to accept; may be repeated.")
@click.option("--token", metavar="TOKEN", help="With --auth: bearer token of management. [default: a random one]")
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    default=100,
    show_default=True,
    help="POST /traces a minute for each key; 0: no limit.",
)
@click.option(
    "--retry-after/--no-retry-after",
    default=True,
    show_default=True,
    help="Send Retry-After with refusals for the rate. Without it, an empty name and a value too deep are a 500, as on"
    " server 0.5.0.",
)
@click.option(
    "--fail",
    type=click.FloatRange(0, 1),
    default=0.0,
    metavar="SHARE",
    help="Share of the requests to answer with 500.",
)
@click.option("--slow", "slow_s", type=click.FloatRange(min=0), default=0.0, metavar="SECONDS", help="Answer late.")
@click.option("--scripted-judge", is_flag=True, help="Give evaluations fixed answers, without a model.")
@click.option("--judge-url", metavar="URL", help="An OpenAI-compatible endpoint that judges evaluations.")
@click.option("--judge-key", metavar="KEY", envvar="OPENAI_API_KEY", help="Its key. [default: OPENAI_API_KEY]")
@click.option("--judge-model", metavar="MODEL", help="Its model.")
@click.option("--embedding-model", metavar="MODEL", help="Its model for the metric `coherence`.")
def local(db: str, host: str, port: int, limit: int, **options: Any) -> int:
    """Run a local PandaProbe: the same HTTP API, and web pages to look at traces.

    Point programs at it with PANDAPROBE_ENDPOINT, as it says when it starts.
    """
    require("local", "fastapi", "uvicorn", "jinja2")
    from pandaprobe_otel.local import DatabaseInUseError, serve

    database = db if db == _MEMORY else str(Path(db).expanduser())
    try:
        serve(db=database, host=host, port=port, limit=limit or None, **options)
    except DatabaseInUseError as error:
        return _refuse(str(error))
    except sqlite3.Error as error:
        return _refuse(f"{database} cannot be used: {error}.")
    except OSError as error:
        # Only errors about files carry a file name.
        what = f"{database} cannot be used" if error.filename else f"cannot listen on {host} port {port}"
        return _refuse(f"{what}: {error.strerror or error}.")
    return ExitCode.OK


def _refuse(message: str) -> int:
    click.echo(f"pandaprobe-otel: {message}", err=True)
    return ExitCode.GENERAL
