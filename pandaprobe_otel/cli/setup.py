"""`pandaprobe-otel setup`: add tracing to a project, and remove it again."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from pandaprobe_otel.cli.exit_codes import ExitCode

if TYPE_CHECKING:
    from pandaprobe_otel.app_setup.proposal import Proposal

_NEXT: Final = """\
Then run the program, with one of these in its environment:
  PANDAPROBE_API_KEY=...     a key from https://app.pandaprobe.com, with PANDAPROBE_PROJECT_NAME
  PANDAPROBE_LOCAL=traces.jsonl   a file; show it with `pandaprobe-otel view traces.jsonl`
`pandaprobe-otel doctor` checks the settings. `pandaprobe-otel setup --undo` reverts all of this."""


@click.command("setup")
@click.argument("folder", default=".", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--dry-run", is_flag=True, help="Show the changes without making them.")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation. Refused if git has uncommitted changes.")
@click.option("--entry", type=click.Path(dir_okay=False, path_type=Path), help="File in which the program starts.")
@click.option("--install/--no-install", default=None, help="Whether to run the command that installs the package.")
@click.option("--undo", "is_undo", is_flag=True, help="Restore the original files.")
def setup(folder: Path, dry_run: bool, yes: bool, entry: Path | None, install: bool | None, is_undo: bool) -> int:
    """Add tracing to a project: the dependency, and two lines where the program starts.

    The command reads the files in FOLDER without running them, shows a diff and asks for confirmation. If the project
    creates its own `TracerProvider`, one line is added after it. A serverless handler gets a decorator. Other tracing
    stays.
    """
    from pandaprobe_otel.app_setup.applied_edits import RECORD, FilesChanged, apply, undo
    from pandaprobe_otel.app_setup.proposal import propose

    try:
        if is_undo:
            return _undone(folder, undo(folder))
        proposal = propose(folder, version=_version(), entry=entry)
        _show(proposal)
        if proposal.is_set_up:
            return ExitCode.OK
        if not proposal.edits:
            return ExitCode.VALIDATION
        if dry_run:
            return ExitCode.OK
        if not _may_change(folder, yes=yes):
            click.echo("Nothing was changed.", err=True)
            return ExitCode.GENERAL
        apply(folder, proposal.edits)
    except FilesChanged as error:
        if error.paths == (RECORD,):
            raise click.ClickException(
                f"{RECORD.as_posix()} already exists: undo the earlier set-up first (--undo)."
            ) from None
        raise click.ClickException(
            f"Nothing was changed, because these files were edited in the meantime: {error}"
        ) from None
    except FileNotFoundError:
        raise click.ClickException(f"There is nothing to undo: {folder / RECORD} does not exist.") from None
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    click.echo(f"\nChanged: {', '.join(edit.path.as_posix() for edit in proposal.edits)}")
    return _installed(folder, proposal, wanted=install, asks=not yes)


def _version() -> str:
    from importlib.metadata import version

    return version("pandaprobe-otel")


def _undone(folder: Path, paths: tuple[Path, ...]) -> int:
    click.echo(f"Restored in {folder}: {', '.join(path.as_posix() for path in paths)}")
    return ExitCode.OK


def _show(proposal: Proposal) -> None:
    from pandaprobe_otel.app_setup.proposal import BY_HAND

    if proposal.libraries:
        click.echo(f"Libraries that will be traced: {', '.join(proposal.libraries)}")
    for note in proposal.notes:
        click.echo(f"- {note}")
    for edit in proposal.edits:
        click.echo(f"\n{edit.diff()}", nl=False)
    if proposal.choices:
        click.echo("\nThe program may start in any of these files. Name one with --entry:")
        for point in proposal.choices:
            click.echo(f"  {point.source.path.as_posix()}  ({point.reason})")
    if proposal.by_hand:
        lines = "\n".join(f"    {line}" for line in BY_HAND)
        click.echo(
            f"\nNothing was changed. Install the package: {proposal.install}\n"
            f"Then put these lines before the first model call:\n\n{lines}\n\n"
            "Or run the program unchanged: pandaprobe-otel run -- python app.py"
        )


def _may_change(folder: Path, *, yes: bool) -> bool:
    dirty = _uncommitted(folder)
    if yes:
        if dirty:
            raise click.UsageError("There are uncommitted changes in git. Commit them first, or omit --yes.")
        return True
    question = "There are uncommitted changes in git. Change these files anyway?" if dirty else "Change the files?"
    return click.confirm(f"\n{question}")


def _uncommitted(folder: Path) -> bool:
    """Return whether the folder is in a git repository and has uncommitted changes."""
    git = shutil.which("git")
    if git is None:
        return False
    command = [git, "-C", str(folder), "status", "--porcelain", "--untracked-files=no", "--", "."]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return answer.returncode == 0 and bool(answer.stdout.strip())


def _installed(folder: Path, proposal: Proposal, *, wanted: bool | None, asks: bool) -> int:
    command = proposal.install
    if wanted is None:
        wanted = asks and click.confirm(f"Run `{command}`?")
    if not wanted:
        click.echo(f"Install it: {command}")
        click.echo(_NEXT)
        return ExitCode.OK
    for part in command.split(" && "):
        words = shlex.split(part)
        program = sys.executable if words[0] == "python" else shutil.which(words[0])
        if program is None or subprocess.run([program, *words[1:]], cwd=folder, check=False).returncode:
            click.echo(
                f"`{part}` failed, but the files are changed. Run it yourself, or revert with `setup --undo`.", err=True
            )
            return ExitCode.GENERAL
    click.echo(_NEXT)
    return ExitCode.OK
