"""The public methods of a client and of all its resources."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

_BY_ANNOTATION: Final[tuple[tuple[str, Any], ...]] = (
    ("FileTypes", ("a.txt", b"x")),
    ("FileContent", b"x"),
    ("Iterable", []),
    ("Sequence", []),
    ("List", []),
    ("list[", []),
    ("Dict", {}),
    ("Mapping", {}),
    ("bool", True),
    ("int", 1),
    ("float", 1.0),
)


def arguments_for(method: Callable[..., Any], known: Mapping[str, Any]) -> dict[str, Any]:
    """Return keyword arguments for parameters without a default; values in `known`, by name, override guesses."""
    found: dict[str, Any] = {}
    for name, parameter in inspect.signature(method).parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
            continue
        if parameter.default is parameter.empty:
            found[name] = known[name] if name in known else _guess(str(parameter.annotation))
    return found


def _guess(annotation: str) -> Any:
    # For a union that allows a string, use a string: the request can then be sent.
    if "str" in annotation.replace("Mapping[str", "").replace("Dict[str", "").replace("List[str", ""):
        return "x"
    return next((value for part, value in _BY_ANNOTATION if part in annotation), "x")


_SKIPPED = ("_", "with_", "parent_ref", "sdk_configuration")


def methods_of(
    owner: Any, is_resource: Callable[[Any], bool], path: tuple[str, ...] = ()
) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Yield the dotted name and the bound method, depth first, in alphabetical order."""
    for name in sorted(set(dir(owner))):
        if name.startswith(_SKIPPED):
            continue
        try:
            found = getattr(owner, name)
        except Exception:  # noqa: BLE001 - a property that needs settings which this client lacks
            continue
        if is_resource(found):
            if len(path) < 6 and found is not owner:
                yield from methods_of(found, is_resource, (*path, name))
        elif callable(found) and not isinstance(found, type):
            yield ".".join((*path, name)), found
