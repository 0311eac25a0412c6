"""Options and output that several commands share."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any, Final

import click

if TYPE_CHECKING:
    from rich.console import Console

_WIDTH_OF_PIPES: Final = 200
"""Width without a terminal, so large that no table breaks a value."""

format_option = click.option(
    "--format",
    "output_format",
    type=click.Choice(["table", "json"]),
    default="table",
    envvar="PANDAPROBE_FORMAT",
    show_default=True,
    help="`table` for people, `json` for programs.",
)


def print_json(value: Any) -> None:
    """Print a value as indented JSON on standard output. Values without a JSON form become text."""
    ascii_only = (sys.stdout.encoding or "").lower().replace("-", "") != "utf8"
    click.echo(json.dumps(value, indent=2, ensure_ascii=ascii_only, default=str))


def console() -> Console:
    """Return a console that writes to standard output."""
    from rich.console import Console

    return Console(highlight=False, width=None if sys.stdout.isatty() else _WIDTH_OF_PIPES)
