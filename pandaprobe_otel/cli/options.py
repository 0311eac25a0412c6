"""Options and output that several commands share: the format, and the API client with its connection."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import click

if TYPE_CHECKING:
    from rich.console import Console

    from pandaprobe_otel.api import Client

_WIDTH_OF_PIPES: Final = 200
"""Width without a terminal, so large that no table breaks a value."""

Decorator = Callable[[Any], Any]

PORT: Final = click.IntRange(0, 65535)
COUNT: Final = click.IntRange(1)
MOST: Final = click.IntRange(0)
ROWS: Final = click.IntRange(1, 200)
SECONDS: Final = click.FloatRange(0)
SHARE: Final = click.FloatRange(0, 1)
FILE: Final = click.Path(exists=True, dir_okay=False, path_type=Path)
NEW_FILE: Final = click.Path(dir_okay=False, path_type=Path)


def option(names: str, text: str | None, kind: Any = None, *default: Any, **more: Any) -> Decorator:
    """Return a decorator that gives a command an option.

    names: as `-n --lines`, perhaps with the name of the argument at the end.
    kind: type of the value; a list has its choices.
    """
    if default:
        more["default"] = default[0]
    return click.option(
        *names.split(),
        type=click.Choice(cast("list[str]", kind)) if isinstance(kind, list) else kind,
        help=text,
        **more,
    )


def flag(names: str, text: str, **more: Any) -> Decorator:
    """Return a decorator that gives a command an option without a value."""
    return click.option(*names.split(), is_flag=True, help=text, **more)


format_option: Decorator = option(
    "--format output_format",
    "`table` for people, `json` for programs.",
    ["table", "json"],
    "table",
    envvar="PANDAPROBE_FORMAT",
)


def print_json(value: Any) -> None:
    """Print a value as indented JSON on standard output. Values without a JSON form become text."""
    ascii_only = (sys.stdout.encoding or "").lower().replace("-", "") != "utf8"
    click.echo(json.dumps(value, indent=2, ensure_ascii=ascii_only, default=str))


def console() -> Console:
    """Return a console that writes to standard output."""
    from rich.console import Console

    return Console(highlight=False, width=None if sys.stdout.isatty() else _WIDTH_OF_PIPES)


def counted(number: int, thing: str) -> str:
    """Return a number and its noun: `1 trace`, `2 traces`. The last word of `thing` becomes plural."""
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"


def all_of(*options: Decorator) -> Decorator:
    """Return a decorator that gives a command these options, in this order."""

    def decorate(command: Any) -> Any:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


_connection_options = all_of(
    option("--project", "Project. [default: PANDAPROBE_PROJECT_NAME]", metavar="NAME"),
    option("--endpoint", "Base URL of the PandaProbe server. [default: PANDAPROBE_ENDPOINT]", metavar="URL"),
    option(
        "--api-key", "API key. Prefer PANDAPROBE_API_KEY: other users of the machine can see arguments.", metavar="KEY"
    ),
    option(
        "--timeout call_timeout",
        "Timeout of a call in seconds, including waits for the rate limit.",
        click.FloatRange(min=0, min_open=True),
        60.0,
        metavar="SECONDS",
        envvar="PANDAPROBE_TIMEOUT",
    ),
    format_option,
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

    return cast("Callable[..., Any]", _connection_options(call))


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
