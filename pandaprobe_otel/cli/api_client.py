"""The API client of the commands, and the options that configure it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from pandaprobe_otel.cli.options import format_option

if TYPE_CHECKING:
    from pandaprobe_otel.api import Client

_CONNECTION = (
    click.option("--project", metavar="NAME", help="Project. [default: PANDAPROBE_PROJECT_NAME]"),
    click.option("--endpoint", metavar="URL", help="Base URL of the PandaProbe server. [default: PANDAPROBE_ENDPOINT]"),
    click.option(
        "--api-key",
        metavar="KEY",
        help="API key. Prefer PANDAPROBE_API_KEY: other users of the machine can see arguments.",
    ),
    click.option(
        "--timeout",
        "call_timeout",
        type=click.FloatRange(min=0, min_open=True),
        metavar="SECONDS",
        default=60.0,
        show_default=True,
        envvar="PANDAPROBE_TIMEOUT",
        help="Timeout of a call in seconds, including waits for the rate limit.",
    ),
)


def with_connection(command: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a command that does not always need a client.

    The command gets the connection options and `output_format`. Its first argument is a function that opens a client.
    """

    @functools.wraps(command)
    def call(
        project: str | None, endpoint: str | None, api_key: str | None, call_timeout: float, **arguments: Any
    ) -> Any:
        def connect(kind: type[Client] | None = None, *, timeout_s: float = call_timeout) -> Client:
            from pandaprobe_otel.api import Client

            return (kind or Client)(api_key, project, endpoint, timeout_s=timeout_s)

        return command(connect, **arguments)

    connected: Callable[..., Any] = call
    for option in (format_option, *reversed(_CONNECTION)):
        connected = option(connected)
    return connected


def with_client(command: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a command that needs a client.

    The command gets the connection options and `output_format`. Its first argument is an open client. The server
    creates a project at the first request that names it.
    """

    @functools.wraps(command)
    def call(connect: Callable[[], Client], **arguments: Any) -> Any:
        with connect() as client:
            return command(client, **arguments)

    return with_connection(call)
