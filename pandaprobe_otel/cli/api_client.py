"""Options of the commands that call the API, and their client."""

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
    click.option("--endpoint", metavar="URL", help="Base URL of PandaProbe. [default: PANDAPROBE_ENDPOINT]"),
    click.option("--api-key", metavar="KEY", help="API key; safer in PANDAPROBE_API_KEY, which others do not see."),
    click.option(
        "--timeout",
        "call_timeout",
        type=click.FloatRange(min=0, min_open=True),
        metavar="SECONDS",
        default=60.0,
        show_default=True,
        envvar="PANDAPROBE_TIMEOUT",
        help="Seconds that a call may take, waits for the rate limit included.",
    ),
)


def with_connection(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command a function that opens a client as its first argument, the options that it is made of, and
    `output_format`: for what may need none.
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
    """Give a command a `client` as its first argument, the options that it is made of, and `output_format`.

    A project that does not exist is made by the first request that names it, as by any client.
    """

    @functools.wraps(command)
    def call(connect: Callable[[], Client], **arguments: Any) -> Any:
        with connect() as client:
            return command(client, **arguments)

    return with_connection(call)
