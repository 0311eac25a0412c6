"""`pandaprobe-otel mcp`: traces for coding agents, over the Model Context Protocol."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pandaprobe_otel.cli.extras import require
from pandaprobe_otel.cli.options import PORT, flag, option, with_connection

if TYPE_CHECKING:
    from mcp.server.mcpserver import MCPServer

_WAIT_S = 20.0
"""Seconds that a tool waits for the rate limit. After it, the tool answers with the remaining time."""


@click.command("mcp")
@flag("--http serves_http", "Use streamable HTTP instead of standard input and output.")
@option("--host", "With --http: address to listen on. Any but a loopback address needs --token.", str, "127.0.0.1")
@option("--port", "With --http: port to listen on. 0: any free port.", PORT, 8765)
@option("--token", "With --http: bearer token that clients must send.", metavar="TOKEN", envvar="PANDAPROBE_MCP_TOKEN")
@flag("--allow-writes", "Also serve tools that score and write tests.")
@option(
    "--entry", "With --allow-writes: function that runs the program, for captured tests.", metavar="MODULE:FUNCTION"
)
@option(
    "--tests-dir",
    "Folder for new tests. Existing files are never overwritten.",
    click.Path(file_okay=False, path_type=Path),
    Path("tests"),
)
@with_connection
def mcp(connect: Callable[..., Any], output_format: str, **options: Any) -> None:
    """Serve traces to coding agents: find, show, compare, failures, sessions, scores.

    The server only reads unless --allow-writes is given. Agents get the content of traces as data. The program and
    the folder of tests come only from this command line.
    """
    require("mcp", "mcp")
    from pandaprobe_otel.mcp_server.searching import SearchingClient
    from pandaprobe_otel.mcp_server.server import server_of
    from pandaprobe_otel.mcp_server.trace_reader import Reading
    from pandaprobe_otel.mcp_server.writer_tools import ServerOptions

    if options["entry"] and not options["allow_writes"]:
        raise click.UsageError("--entry needs --allow-writes")
    allowed = ServerOptions(
        writes=options["allow_writes"],
        entry=options["entry"],
        tests=options["tests_dir"],
    )
    with connect(SearchingClient, timeout_s=_WAIT_S) as client:
        server = server_of(Reading(client), allowed)
        if options["serves_http"]:
            _serve(server, options["host"], options["port"], options["token"])
        else:
            server.run("stdio")


def _serve(server: MCPServer, host: str, port: int, token: str | None) -> None:
    import uvicorn

    from pandaprobe_otel.mcp_server.server import http_app, is_loopback

    if not is_loopback(host) and not token:
        raise click.UsageError(f"other machines can reach {host}: set --token or PANDAPROBE_MCP_TOKEN")
    listening = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    shown = f"[{host}]" if ":" in host else host
    click.echo(f"http://{shown}:{listening.getsockname()[1]}/mcp    (stop with Ctrl-C)", err=True)
    uvicorn.Server(uvicorn.Config(http_app(server, host, token), log_level="warning")).run(sockets=[listening])
