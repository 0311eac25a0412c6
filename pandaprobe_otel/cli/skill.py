"""`pandaprobe-otel skill`: instructions with which coding agents trace, test and fix an app."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from pandaprobe_otel.cli.exit_codes import ExitCode
from pandaprobe_otel.cli.options import flag, format_option, option, print_json
from pandaprobe_otel.skill.installing import AGENTS, Installed, Outcome, install, remove

_user = flag("--user", "Use the home folder, for all projects.")


@click.group("skill")
def skill() -> None:
    """Install or remove the skill for coding agents."""


@skill.command("install")
@option(
    "--agent agents",
    "Another coding agent to install the skill for. May be repeated.",
    list(AGENTS),
    multiple=True,
)
@_user
@format_option
def install_command(agents: Sequence[str], user: bool, output_format: str) -> int:
    """Write .agents/skills/pandaprobe-otel/SKILL.md, and copies for agents that use a folder of their own.

    An edited file is not overwritten; the exit code is then 1.
    """
    return _print(install(_folder(user=user), agents), output_format)


@skill.command("remove")
@_user
@format_option
def remove_command(user: bool, output_format: str) -> int:
    """Remove the files that `skill install` wrote. An edited file stays, and the exit code is then 1."""
    return _print(remove(_folder(user=user)), output_format)


def _folder(*, user: bool) -> Path:
    return Path.home() if user else Path.cwd()


def _print(found: Sequence[Installed], output_format: str) -> int:
    if output_format == "json":
        print_json([{"file": str(one.file), "outcome": one.outcome} for one in found])
    else:
        for one in found:
            click.echo(f"{one.file}: {one.outcome}")
    return ExitCode.GENERAL if any(one.outcome is Outcome.EDITED for one in found) else ExitCode.OK
