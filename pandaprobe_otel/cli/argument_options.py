"""Command-line options made from the arguments of the API client, so that both have the same filters."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from enum import EnumType
from typing import Any, Final, Required, TypeAlias, Union, cast, get_args, get_origin, get_type_hints, is_typeddict
from uuid import UUID

import click

from pandaprobe_otel.cli.value_types import Json, Moment, ParamType

Command: TypeAlias = Callable[..., Any]

_HELP: Final = {
    "started_after": "Earliest start: 2026-01-02T03:04:05Z, or 24h for the last 24 hours.",
    "started_before": "Latest start, exclusive.",
    "date_from": "Earliest time: 2026-01-02T03:04:05Z, or 24h for the last 24 hours.",
    "date_to": "Latest time, exclusive.",
    "tags": "Tag. May be repeated.",
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


def options_of(arguments: Any, *, without: Sequence[str] = ()) -> Callable[[Command], Command]:
    """Give a command an option for each argument of a TypedDict. The command gets the values as the mapping `given`."""
    hints: Mapping[str, Any] = get_type_hints(arguments)
    with_extras = get_type_hints(arguments, include_extras=True)
    needed = {name for name, hint in with_extras.items() if get_origin(hint) is Required}
    names = [name for name in hints if name not in without]

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def collect(*args: Any, **options: Any) -> Any:
            every = {name: options.pop(name) for name in names}
            given = {name: _plain(value) for name, value in every.items() if value not in (None, ())}
            return command(*args, given=given, **options)

        optioned: Command = collect
        for name in reversed(names):
            optioned = _option(name, hints[name], required=name in needed)(optioned)
        return optioned

    return decorate


def _option(name: str, hint: Any, *, required: bool) -> Callable[[Command], Command]:
    flag = f"--{_SPELLINGS.get(name, name).replace('_', '-')}"
    kinds = _kinds(hint)
    text = _HELP.get(name)
    if bool in kinds:
        return click.option(f"{flag}/--no-{flag[2:]}", name, default=None, help=text)
    return click.option(flag, name, type=_type_of(kinds), multiple=_is_list(kinds), required=required, help=text)


def _kinds(hint: Any) -> tuple[Any, ...]:
    """Return the members of a union type, or the type itself."""
    kinds = get_args(hint) if get_origin(hint) in (Union, cast, types.UnionType) else (hint,)
    return tuple(kind for kind in kinds if kind is not type(None))


def _is_list(kinds: Sequence[Any]) -> bool:
    return any(get_origin(kind) is list for kind in kinds)


def _type_of(kinds: Sequence[Any]) -> ParamType:
    if members := [str(member) for kind in kinds if isinstance(kind, EnumType) for member in _members(kind)]:
        return click.Choice(members, case_sensitive=False)
    if datetime in kinds:
        return Moment()
    if int in kinds:
        return click.INT
    if float in kinds:
        return click.FLOAT
    if str in kinds or UUID in kinds or _is_list(kinds):
        return click.STRING
    return Json(or_text=not any(get_origin(kind) is dict or is_typeddict(kind) for kind in kinds))


def _members(kind: Any) -> Iterable[object]:
    members: Iterable[object] = kind
    return members


def _plain(value: Any) -> Any:
    return list(cast("Sequence[Any]", value)) if isinstance(value, tuple) else value
