"""`pandaprobe-otel local`: run a PandaProbe on this machine until Ctrl-C."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import click

from pandaprobe_otel.cli.exit_codes import ExitCode
from pandaprobe_otel.cli.extras import require
from pandaprobe_otel.cli.options import MOST, PORT, SECONDS, SHARE, flag, option

_MEMORY = ":memory:"


@click.command("local")
@option("--port", "Port to listen on. 0: any free port.", PORT, 8787)
@option("--host", "Address to listen on. Any but a loopback address needs --auth.", str, "127.0.0.1")
@option(
    "--db",
    "SQLite file for the traces. :memory: keeps them until the process ends.",
    str,
    _MEMORY,
    metavar="FILE|:memory:",
)
@flag("--auth", "Check API keys. By default, any key is accepted.")
@option("--api-key api_keys", "API key to accept. May be repeated.", multiple=True, metavar="KEY")
@option("--token", "With --auth: bearer token of the management API. [default: a random one]", metavar="TOKEN")
@option("--limit", "Requests to POST /traces per minute and key. 0: no limit.", MOST, 100)
@option(
    "--retry-after/--no-retry-after",
    "Send Retry-After with status 429. Without it, behave like server 0.5.0, which also answers 500 to an empty "
    "name or a too deeply nested value.",
    bool,
    True,
)
@option("--fail", "Share of requests that get status 500.", SHARE, 0.0, metavar="SHARE")
@option("--slow slow_s", "Seconds by which each answer is delayed.", SECONDS, 0.0, metavar="SECONDS")
@flag("--scripted-judge", "Answer evaluations with fixed scores, without a model.")
@option("--judge-url", "URL of an OpenAI-compatible endpoint that judges evaluations.", metavar="URL")
@option("--judge-key", "API key of the judge. [default: OPENAI_API_KEY]", metavar="KEY", envvar="OPENAI_API_KEY")
@option("--judge-model", "Model that judges evaluations.", metavar="MODEL")
@option("--embedding-model", "Embedding model of the judge for the metric `coherence`.", metavar="MODEL")
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
