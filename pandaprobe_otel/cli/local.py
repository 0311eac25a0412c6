"""`pandaprobe-otel local`: run a PandaProbe on this machine until Ctrl-C."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import click

from pandaprobe_otel.cli.exit_codes import ExitCode
from pandaprobe_otel.cli.extras import require

_MEMORY = ":memory:"


@click.command("local")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8787,
    show_default=True,
    help="Port to listen on. 0: any free port.",
)
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen on. Any but a loopback address needs --auth.",
)
@click.option(
    "--db",
    metavar="FILE|:memory:",
    default=_MEMORY,
    show_default=True,
    help="SQLite file for the traces. :memory: keeps them until the process ends.",
)
@click.option("--auth", is_flag=True, help="Check API keys. By default, any key is accepted.")
@click.option("--api-key", "api_keys", multiple=True, metavar="KEY", help="API key to accept. May be repeated.")
@click.option(
    "--token", metavar="TOKEN", help="With --auth: bearer token of the management API. [default: a random one]"
)
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    default=100,
    show_default=True,
    help="Requests to POST /traces per minute and key. 0: no limit.",
)
@click.option(
    "--retry-after/--no-retry-after",
    default=True,
    show_default=True,
    help="Send Retry-After with status 429. Without it, behave like server 0.5.0, which also answers 500 to an empty "
    "name or a too deeply nested value.",
)
@click.option(
    "--fail",
    type=click.FloatRange(0, 1),
    default=0.0,
    metavar="SHARE",
    help="Share of requests that get status 500.",
)
@click.option(
    "--slow",
    "slow_s",
    type=click.FloatRange(min=0),
    default=0.0,
    metavar="SECONDS",
    help="Seconds by which each answer is delayed.",
)
@click.option("--scripted-judge", is_flag=True, help="Answer evaluations with fixed scores, without a model.")
@click.option("--judge-url", metavar="URL", help="URL of an OpenAI-compatible endpoint that judges evaluations.")
@click.option(
    "--judge-key", metavar="KEY", envvar="OPENAI_API_KEY", help="API key of the judge. [default: OPENAI_API_KEY]"
)
@click.option("--judge-model", metavar="MODEL", help="Model that judges evaluations.")
@click.option("--embedding-model", metavar="MODEL", help="Embedding model of the judge for the metric `coherence`.")
def local(db: str, host: str, port: int, limit: int, **options: Any) -> int:
    """Run a local PandaProbe: the HTTP API of the server, and web pages that show traces.

    Set PANDAPROBE_ENDPOINT of your programs to the address that it prints at its start.
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
        # Only errors about files have a file name.
        what = f"{database} cannot be used" if error.filename else f"cannot listen on {host} port {port}"
        return _refuse(f"{what}: {error.strerror or error}.")
    return ExitCode.OK


def _refuse(message: str) -> int:
    click.echo(f"pandaprobe-otel: {message}", err=True)
    return ExitCode.GENERAL
