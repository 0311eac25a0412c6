"""Putting a wrapper on a class and taking it off again."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Protocol

import wrapt

Wrapper = Callable[[Callable[..., Any], Any, tuple[Any, ...], dict[str, Any]], Any]


class Undoable(Protocol):
    """A change to a library."""

    def undo(self) -> None:
        """Put everything back as it was."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Patch:
    """One wrapped attribute."""

    owner: Any
    name: str
    original: Any
    replacement: Any

    def undo(self) -> None:
        """Put the original object back, unless someone has put another wrapper over ours in the meantime.

        Ours stays inside theirs then, and passes through.
        """
        if self.owner.__dict__.get(self.name) is self.replacement:
            setattr(self.owner, self.name, self.original)


def patch(owner: Any, name: str, wrapper: Wrapper) -> Patch:
    """Wrap `owner.name`, which must be defined on `owner` itself.

    Raises AttributeError when it is not there, as in a version of the library that is built differently.
    """
    original = owner.__dict__.get(name)
    if original is None:
        raise AttributeError(f"{owner.__name__} has no {name}")
    replacement = wrapt.FunctionWrapper(original, wrapper)
    setattr(owner, name, replacement)
    return Patch(owner=owner, name=name, original=original, replacement=replacement)


def replace(owner: Any, name: str, replacement: Any) -> Patch:
    """Put something that is no function, such as a property, in the place of `owner.name`."""
    original = owner.__dict__[name]
    setattr(owner, name, replacement)
    return Patch(owner=owner, name=name, original=original, replacement=replacement)


@dataclass(frozen=True, slots=True, kw_only=True)
class CellPatch:
    """One wrapped function that a decorator's closure calls."""

    cell: Any
    original: Any
    replacement: Any

    def undo(self) -> None:
        """Put the original function back, unless someone has put another one over ours."""
        if self.cell.cell_contents is self.replacement:
            self.cell.cell_contents = self.original


def patch_inside(decorated: Callable[..., Any], variable: str, wrapper: Wrapper) -> CellPatch:
    """Wrap the function that `decorated`, the product of a decorator, calls by the name `variable` of its closure.

    So it does not matter who has taken `decorated` out of its module, or when. Raises AttributeError when there is
    no such variable, nor in what `decorated` itself wraps.
    """
    function: Any = decorated
    while function is not None:
        names = getattr(getattr(function, "__code__", None), "co_freevars", ())
        if variable in names:
            cell = function.__closure__[names.index(variable)]
            original = cell.cell_contents
            replacement = cell.cell_contents = wrapt.FunctionWrapper(original, wrapper)
            return CellPatch(cell=cell, original=original, replacement=replacement)
        function = getattr(function, "__wrapped__", None)
    raise AttributeError(f"{decorated.__name__} calls no {variable}")


def definer(owner: type[Any], name: str) -> type[Any]:
    """The class among `owner` and its bases that defines `name`. Raises AttributeError when none does."""
    for candidate in owner.__mro__:
        if name in candidate.__dict__:
            return candidate
    raise AttributeError(f"{owner.__name__} has no {name}")


def when_imported(module: str, action: Callable[[ModuleType], None]) -> None:
    """Run `action` with the module: now if it is loaded, else right after it is imported. Never imports it."""
    loaded = sys.modules.get(module)
    if loaded is not None and not getattr(getattr(loaded, "__spec__", None), "_initializing", False):
        action(loaded)
    else:
        wrapt.register_post_import_hook(action, module)
