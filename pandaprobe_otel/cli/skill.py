"""`pandaprobe-otel skill`: what coding agents read to trace, test and mend an app."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from pandaprobe_otel.cli.exit_codes import ExitCode
from pandaprobe_otel.cli.options import format_option, print_json
from pandaprobe_otel.skill.installing import AGENTS, Installed, Outcome, install, remove

_user = click.option("--user", is_flag=True, help="In the home folder, for all projects.")


@click.group("skill")
def skill() -> None:
    """Install or remove the skill for coding agents."""


@skill.command("install")
@click.option("--agent", "agents", multiple=True, type=click.Choice(list(AGENTS)), help="Also for it; may be repeated.")
@_user
@format_option
def install_command(agents: Sequence[str], user: bool, output_format: str) -> int:
    """Write .agents/skills/pandaprobe-otel/SKILL.md, and copies where an agent has a folder of its own.

    A file that was edited stays; exit code 1 then.
    """
    return _tell(install(_folder(user=user), agents), output_format)


@skill.command("remove")
@_user
@format_option
def remove_command(user: bool, output_format: str) -> int:
    """Remove what `skill install` has written; a file that was edited stays, exit code 1 then."""
    return _tell(remove(_folder(user=user)), output_format)


def _folder(*, user: bool) -> Path:
    return Path.home() if user else Path.cwd()


def _tell(found: Sequence[Installed], output_format: str) -> int:
    if output_format == "json":
        print_json([{"file": str(one.file), "outcome": one.outcome} for one in found])
    else:
        for one in found:
            click.echo(f"{one.file}: {one.outcome}")
    return ExitCode.GENERAL if any(one.outcome is Outcome.EDITED for one in found) else ExitCode.OK
