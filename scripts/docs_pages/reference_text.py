"""The API reference as plain text, for the copies of pages whose source only names the objects."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, Final, cast

import griffe

ROOT: Final = Path(__file__).parents[2]
_MARKS: Final = {griffe.ParameterKind.var_positional: "*", griffe.ParameterKind.var_keyword: "**"}


def described(path: str) -> str:
    """Return signature and docstring of an object by its dotted path, and of the public members of a class."""
    return _object(_find(path), level=2)


def _object(found: Any, level: int) -> str:
    parts = [f"{'#' * level} {found.name}"]
    if found.kind is griffe.Kind.FUNCTION:
        parts.append(f"```text\n{_signature(found)}\n```")
    if found.docstring is not None:
        parts.append(found.docstring.value.strip())
    if found.kind is griffe.Kind.CLASS:
        members = [each for each in found.all_members.values() if not each.name.startswith("_")]
        parts += [_object(_target(each), level + 1) for each in members if _target(each).docstring is not None]
    return "\n\n".join(parts)


def _signature(function: Any) -> str:
    shown: list[str] = []
    for parameter in function.parameters:
        mark = _MARKS.get(parameter.kind, "")
        if parameter.kind is griffe.ParameterKind.keyword_only and not any(each.startswith("*") for each in shown):
            shown.append("*")
        annotation = f": {parameter.annotation}" if parameter.annotation is not None else ""
        plain = parameter.default is None or mark
        shown.append(f"{mark}{parameter.name}{annotation}" + ("" if plain else f" = {parameter.default}"))
    return f"{function.name}({', '.join(shown)}) -> {function.returns}"


def _find(path: str) -> Any:
    return _target(_package()[path.removeprefix("pandaprobe_otel.")])


def _target(found: Any) -> Any:
    return found.final_target if found.is_alias else found


@cache
def _package() -> Any:
    return cast("Any", griffe.load("pandaprobe_otel", search_paths=[ROOT], resolve_aliases=True))
