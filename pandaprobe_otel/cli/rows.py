"""Commands as rows: an operation of the API client, its help, and how its answer is shown.

The signature of the operation says which arguments and options the command has, so that both have the same filters.
"""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import EnumType
from operator import attrgetter
from typing import (
    TYPE_CHECKING,
    Any,
    Final,
    Literal,
    Required,
    TypeAlias,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)
from uuid import UUID

import click
from typing_extensions import is_typeddict

from pandaprobe_otel.api.evaluations import Evaluations
from pandaprobe_otel.api.models import Page
from pandaprobe_otel.api.monitors import Monitors
from pandaprobe_otel.api.scores import Scores, SessionScores
from pandaprobe_otel.api.sessions import Sessions
from pandaprobe_otel.api.traces import Traces, Users
from pandaprobe_otel.cli.options import flag, option, with_client
from pandaprobe_otel.cli.show import show
from pandaprobe_otel.cli.value_types import JSON, JSON_FILE, JSON_OBJECT, MOMENT, ParamType

if TYPE_CHECKING:
    from pandaprobe_otel.api import Client

Command: TypeAlias = Callable[..., Any]

_PARTS: Final[Mapping[str, type]] = {
    "traces": Traces,
    "users": Users,
    "sessions": Sessions,
    "scores": Scores,
    "scores.sessions": SessionScores,
    "evaluations": Evaluations,
    "monitors": Monitors,
}
_HELP: Final = {
    "started_after": "Earliest start: 2026-01-02T03:04:05Z, or 24h for the last 24 hours.",
    "started_before": "Latest start, exclusive.",
    "date_from": "Earliest time: 2026-01-02T03:04:05Z, or 24h for the last 24 hours.",
    "date_to": "Latest time, exclusive.",
    "tags": "Tag. May be repeated.",
    "add": "Tag to add. May be repeated.",
    "remove": "Tag to remove. May be repeated.",
    "value": "New value: a number from 0 to 1, true or false, or a label.",
    "reason": "Reason for the score.",
    "query": "Part of the session id.",
    "limit": "Number of rows per page.",
    "offset": "Number of rows to skip.",
}
_SPELLINGS: Final = {
    "tags": "tag",
    "metrics": "metric",
    "started_after": "since",
    "started_before": "until",
    "date_from": "since",
    "date_to": "until",
}
"""Options whose names differ from the arguments that they set."""
_POSITIONAL: Final = {"metric_name": "METRIC"}
"""Required arguments of operations that a command line names without an option."""
_TYPES: Final[Mapping[Any, ParamType]] = {
    datetime: MOMENT,
    str: click.STRING,
    UUID: click.STRING,
    int: click.INT,
    float: click.FLOAT,
}
_PAGING: Final = ("limit", "offset")

all_option = flag("--all everything", "Show all pages.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A command that is one call.

    Attributes:
        call: Operation of the client, as `traces.list`.
        every: Operation that iterates over all pages, for `--all`.
        clears: True if `--clear FIELD` sets a field to None.
        needs: The refusal of a command line without any option of the operation; empty if it needs none.
        show: Function that prints the answer.
    """

    call: str
    help: str
    every: str = ""
    clears: bool = False
    needs: str = ""
    show: Callable[[Any, str], Any] = show


def group_of(name: str, text: str, rows: Mapping[str, Row]) -> click.Group:
    """Return a group of commands by name, to which others can be added."""
    group = click.Group(name, help=text)
    for command, row in rows.items():
        group.add_command(_command(command, row))
    return group


def _command(name: str, row: Row) -> click.Command:
    part, _, method = row.call.rpartition(".")
    function = getattr(_PARTS[part], method).method
    hints = get_type_hints(function)
    arguments: dict[str, Any] = {}
    options: dict[str, Any] = {}
    needed: frozenset[str] = frozenset()
    for parameter in [*inspect.signature(function).parameters.values()][1:]:
        hint = hints[parameter.name]
        if parameter.kind is parameter.VAR_KEYWORD:
            fields, needed = _fields(get_args(hint)[0])
            options |= fields
        elif parameter.kind is parameter.KEYWORD_ONLY:
            options[parameter.name] = hint
        else:
            arguments[parameter.name] = hint
    named = {name: options.pop(name) for name in _POSITIONAL if name in needed}

    def run(client: Client, output_format: str, *, everything: bool = False, clear: Any = (), **given: Any) -> None:
        values = _given(given) | dict.fromkeys(clear)
        subjects = [values.pop(name) for name in arguments]
        if row.needs and not values:
            raise click.UsageError(row.needs)
        if everything:
            answer = whole_list(functools.partial(attrgetter(row.every)(client), *subjects), values)
        else:
            answer = attrgetter(row.call)(client)(*subjects, **values)
        if answer is not None:
            row.show(answer, output_format)
        elif output_format == "table":  # Programs get only the exit code of a deletion.
            click.echo(f"deleted {part.partition('.')[0].removesuffix('s')} {subjects[0]}")

    command: Command = with_client(run)
    if row.every:
        command = all_option(command)
    if row.clears:
        command = option("--clear", "Field to clear. May be repeated.", multiple=True, metavar="FIELD")(command)
    command = _with_options(command, options, needed)
    for argument, hint in reversed([*(arguments | named).items()]):
        command = _argument(argument, hint)(command)
    return click.command(name, help=row.help)(command)


def whole_list(iterate: Callable[..., Iterable[Any]], given: Mapping[str, Any]) -> Page[Any]:
    """Return all rows of a list as one page."""
    found = list(iterate(**{name: value for name, value in given.items() if name not in _PAGING}))
    return Page[Any].model_construct(items=found, total=len(found), limit=len(found), offset=0)


def options_of(arguments: Any, *, without: Sequence[str] = ()) -> Callable[[Command], Command]:
    """Give a command an option for each argument of a TypedDict. The command gets the values as the mapping `given`."""
    fields, needed = _fields(arguments)
    hints = {name: hint for name, hint in fields.items() if name not in without}

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def collect(*args: Any, **options: Any) -> Any:
            return command(*args, given=_given({name: options.pop(name) for name in hints}), **options)

        return _with_options(collect, hints, needed)

    return decorate


def _fields(arguments: Any) -> tuple[dict[str, Any], frozenset[str]]:
    """Return the types of a TypedDict's fields, and the names of the required ones."""
    hints = get_type_hints(arguments, include_extras=True)
    return get_type_hints(arguments), frozenset(name for name, hint in hints.items() if get_origin(hint) is Required)


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that the command line has."""
    return {
        name: list(cast("Sequence[Any]", value)) if isinstance(value, tuple) else value
        for name, value in values.items()
        if value not in (None, ())
    }


def _argument(name: str, hint: Any) -> Callable[[Command], Command]:
    if get_origin(hint) is Iterable:
        (kind,) = get_args(hint)
        if is_typeddict(kind):
            return click.argument(name, metavar="FILE", type=JSON_FILE)
        return click.argument(name, nargs=-1, required=True)
    return click.argument(name, metavar=_POSITIONAL.get(name))


def _with_options(command: Command, hints: Mapping[str, Any], needed: Collection[str]) -> Command:
    for name, hint in reversed([*hints.items()]):
        command = _option(name, hint, required=name in needed)(command)
    return command


def _option(name: str, hint: Any, *, required: bool) -> Callable[[Command], Command]:
    flag = f"--{_SPELLINGS.get(name, name).replace('_', '-')}"
    kinds = [kind for kind in _members(hint) if kind is not type(None)]
    is_list = any(get_origin(kind) in (list, Sequence) for kind in kinds)
    if bool in kinds and str not in kinds:
        return click.option(f"{flag}/--no-{flag[2:]}", name, default=None, help=_HELP.get(name))
    kind = click.STRING if is_list else _type_of(kinds)
    return click.option(flag, name, type=kind, multiple=is_list, required=required, help=_HELP.get(name))


def _members(hint: Any) -> Sequence[Any]:
    """Return the members of a union type, or the type itself."""
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def _type_of(kinds: Sequence[Any]) -> ParamType:
    if members := [
        str(member)
        for kind in kinds
        for member in (get_args(kind) if get_origin(kind) is Literal else kind if isinstance(kind, EnumType) else ())
    ]:
        return click.Choice(members, case_sensitive=False)
    for kind, found in _TYPES.items():
        if kind in kinds:
            return found
    is_object = any(get_origin(kind) in (dict, Mapping) or is_typeddict(kind) for kind in kinds)
    return JSON_OBJECT if is_object else JSON
