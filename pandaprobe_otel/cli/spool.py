"""`pandaprobe-otel spool`: requests that wait on disk, and those that the server refused."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from pandaprobe_otel.cli.exit_codes import ExitCode
from pandaprobe_otel.cli.options import console, format_option, print_json
from pandaprobe_otel.cli.plurals import counted

if TYPE_CHECKING:
    from rich.table import Table

    from pandaprobe_otel.delivery.spool.dead_letters import DeadLetters, Letter

_Command = TypeVar("_Command", bound=Callable[..., Any])
_FILE_COLUMNS: Final = {
    "state": "state",
    "pid": "process",
    "project": "project",
    "endpoint": "endpoint",
    "requests": "requests",
    "spans": "spans",
    "bytes": "bytes",
    "name": "file",
}
_LETTER_COLUMNS: Final = {
    "number": "number",
    "at": "refused at",
    "project": "project",
    "request": "request",
    "name": "name",
    "spans": "spans",
    "server": "server",
}
_numbers = click.argument("numbers", nargs=-1, type=int, metavar="[NUMBER]...")


def _spool_option(command: _Command) -> _Command:
    return click.option(
        "--spool",
        "directory",
        type=click.Path(path_type=Path, file_okay=False),
        metavar="DIR",
        help="Spool directory. [default: the setting `spool` (PANDAPROBE_SPOOL_DIR)]",
    )(command)


@click.group("spool")
def spool() -> None:
    """Show a spool directory, send refused requests again, or delete them. This is safe while services run."""


@spool.command("ls")
@_spool_option
@format_option
def ls(directory: Path | None, output_format: str) -> int:
    """List the waiting and the refused requests."""
    from pandaprobe_otel.delivery.spool.inspection import reports

    folder = _folder(directory)
    files, letters = reports(folder), _letters(folder).all()
    if output_format == "json":
        refused = [{key: value for key, value in _row(letter).items() if key != "body"} for letter in letters]
        print_json({"files": [asdict(file) for file in files], "refused": refused})
    else:
        _print(folder, [asdict(file) for file in files], letters)
    return ExitCode.OK


@spool.command("show")
@click.argument("number", type=int)
@_spool_option
def show(number: int, directory: Path | None) -> int:
    """Show a refused request as JSON: the server's message and the refused body."""
    letter = next((letter for letter in _letters(_folder(directory)).all() if letter.number == number), None)
    if letter is None:
        return _missing([number])
    print_json(_row(letter))
    return ExitCode.OK


@spool.command("retry")
@_numbers
@click.option("--all", "everything", is_flag=True, help="Select all refused requests.")
@click.option(
    "--other-keys",
    is_flag=True,
    help="Also send requests that wait for this endpoint and project under another API key.",
)
@_spool_option
def retry(numbers: Sequence[int], everything: bool, other_keys: bool, directory: Path | None) -> int:
    """Send refused requests again after the cause has been fixed.

    They are sent by a process that uses the directory with the same settings: at once if one is running, otherwise by
    the next one.
    """
    from pandaprobe_otel.delivery.spool.inspection import send_again

    folder = _folder(directory)
    store = _letters(folder)
    chosen = _chosen(store, numbers, everything=everything, or_else=other_keys)
    if isinstance(chosen, int):
        return chosen
    sent = send_again(folder, chosen)
    store.remove(letter.number for letter in chosen if letter.request is not None)
    if chosen:
        click.echo(f"To be sent again: {counted(sent, 'refused request')}.")
    if other_keys:
        click.echo(f"Moved to this key: {counted(_readdress(folder), 'waiting request')}.")
    return ExitCode.OK


@spool.command("purge")
@_numbers
@click.option("--all", "everything", is_flag=True, help="Select all refused requests.")
@click.option(
    "--waiting", is_flag=True, help="Also delete waiting requests of processes that have ended. These are lost."
)
@_spool_option
def purge(numbers: Sequence[int], everything: bool, waiting: bool, directory: Path | None) -> int:
    """Delete refused requests permanently."""
    from pandaprobe_otel.delivery.spool.inspection import discard

    folder = _folder(directory)
    store = _letters(folder)
    chosen = _chosen(store, numbers, everything=everything, or_else=waiting)
    if isinstance(chosen, int):
        return chosen
    if chosen:
        store.remove(letter.number for letter in chosen)
        click.echo(f"Deleted {counted(len(chosen), 'refused request')}.")
    if waiting:
        click.echo(f"Deleted {counted(discard(folder), 'waiting request')}.")
    return ExitCode.OK


# -- the directory ----------------------------------------------------------------------------------------------------


def _folder(directory: Path | None) -> Path:
    from pandaprobe_otel.config.resolve import Config

    named = str(directory) if directory is not None else Config.resolve().spool
    if not named:
        raise click.UsageError("no spool directory: pass --spool DIR or set PANDAPROBE_SPOOL_DIR.")
    folder = Path(named).expanduser()
    if not folder.is_dir():
        raise click.UsageError(f"{folder} is not a directory.")
    return folder


def _letters(folder: Path) -> DeadLetters:
    from pandaprobe_otel.delivery.spool.dead_letters import DeadLetters

    return DeadLetters(folder)


def _chosen(store: DeadLetters, numbers: Sequence[int], *, everything: bool, or_else: bool) -> list[Letter] | int:
    """Return the selected dead letters, or the exit code if a number does not exist."""
    if not numbers and not everything and not or_else:
        raise click.UsageError("pass the numbers of refused requests (`pandaprobe-otel spool ls`), or --all.")
    try:
        letters = store.all()
    except sqlite3.Error as error:
        raise click.ClickException(f"the refused requests cannot be read: {error}") from error
    missing = [number for number in numbers if number not in {letter.number for letter in letters}]
    if missing:
        return _missing(missing)
    return [letter for letter in letters if everything or letter.number in numbers]


def _readdress(folder: Path) -> int:
    from pandaprobe_otel.config.resolve import Config
    from pandaprobe_otel.delivery.spool.destination import Destination
    from pandaprobe_otel.delivery.spool.inspection import take_to

    config = Config.resolve()
    if config.fixed_key is None:
        raise click.UsageError("--other-keys needs the key to send with: set PANDAPROBE_API_KEY.")
    return take_to(folder, Destination(endpoint=config.endpoint, project=config.project_name, api_key=config.fixed_key))


def _missing(numbers: Sequence[int]) -> int:
    click.echo(f"pandaprobe-otel: there is no refused request {', '.join(map(str, numbers))}.", err=True)
    return ExitCode.NOT_FOUND


# -- output -----------------------------------------------------------------------------------------------------------


def _row(letter: Letter) -> dict[str, Any]:
    request = letter.request
    row: dict[str, Any] = {
        "number": letter.number,
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(letter.at)),
        "endpoint": letter.endpoint,
        "project": letter.project,
        "server": letter.words,
    }
    if request is None:
        return {**row, "request": "damaged", "trace_id": None, "name": None, "spans": None, "body": None}
    return {
        **row,
        "request": request.target,
        "trace_id": request.trace_id,
        "name": request.name,
        "spans": len(request.spans),
        "body": json.loads(request.body()),
    }


def _print(folder: Path, files: Sequence[dict[str, Any]], letters: Sequence[Letter]) -> None:
    out = console()
    out.print(f"{folder}: {len(files)} files, {len(letters)} refused requests", markup=False)
    for columns, rows in ((_FILE_COLUMNS, files), (_LETTER_COLUMNS, [_row(letter) for letter in letters])):
        if rows:
            out.print(_table(columns, rows))


def _table(columns: Mapping[str, str], rows: Sequence[dict[str, Any]]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns.values(), box=None, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*(Text("-" if row[column] is None else str(row[column])) for column in columns))
    return table
