"""Putting a wrapper on a class and taking it off again."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from inspect import isawaitable
from types import ModuleType
from typing import Any, Protocol

import wrapt

from ._guard import guarded


class OriginalCall:
    """A call that the app, or the library itself, makes of a patched function; calling this object makes it."""

    __slots__ = ("args", "function", "kwargs", "owner")

    def __init__(self, function: Callable[..., Any], owner: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.function = function
        self.owner = owner
        """The object whose method is called; for a function of a module, nothing of use."""
        self.args = args
        self.kwargs = kwargs

    def __call__(self) -> Any:
        """Return or raise as the original function does."""
        return self.function(*self.args, **self.kwargs)

    def replacing(self, **kwargs: Any) -> Any:
        """Call the original function with other values for these named arguments."""
        return self.function(*self.args, **{**self.kwargs, **kwargs})

    def on(self, owner: Any) -> Any:
        """Call the method of an object that stands in for the owner. Wrappers around the method stay."""
        method: Any = self.function
        function = getattr(method, "_self_parent", None) or method.__func__
        return function.__get__(owner, type(self.owner))(*self.args, **self.kwargs)

    def arg(self, place: int, name: str) -> Any:
        """Return an argument that may be given by name or by place; None if it is not given."""
        if name in self.kwargs:
            return self.kwargs[name]
        return self.args[place] if len(self.args) > place else None


Wrapper = Callable[[OriginalCall], Any]
"""Replaces the calls of a function."""


class Undoable(Protocol):
    """A change to a library."""

    def undo(self) -> None:
        """Restore the previous state."""
        ...


@dataclass(frozen=True, slots=True)
class Undo:
    """A change to a library that no patch makes, such as a registered handler."""

    undo: Callable[[], None]
    """Restores the previous state."""


@dataclass(slots=True, kw_only=True, eq=False)
class Patch:
    """One attribute that was wrapped or, without a wrapper, replaced."""

    owner: Any
    name: str
    original: Any
    replacement: Any
    wrapper: Wrapper | None = None

    def undo(self) -> None:
        """Restore the original object, unless another wrapper was put over ours in the meantime.

        Our wrapper then stays inside the other one, and passes calls through.
        """
        if _is_same(self.owner.__dict__.get(self.name), self.replacement):
            setattr(self.owner, self.name, self.original)

    def renew(self) -> None:
        """Put our wrapper over the current object, unless it is inside already, and remove copies in subclasses.

        A rival that wraps an inherited function leaves a copy in the subclass when it is taken off.
        """
        current = self.owner.__dict__.get(self.name)
        if current is None:
            return
        if not _is_inside(self.replacement, current):
            if self.wrapper is not None:
                self.original, self.replacement = current, wrapped_by(self.wrapper, current)
            setattr(self.owner, self.name, self.replacement)
        for below in subclasses(self.owner):
            if below.__dict__.get(self.name) is self.original:
                delattr(below, self.name)


def wrapped_by(wrapper: Wrapper, function: Any) -> Callable[..., Any]:
    """Return a function of the same signature whose calls the wrapper replaces."""

    def hook(wrapped: Callable[..., Any], owner: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return wrapper(OriginalCall(wrapped, owner, args, kwargs))

    return wrapt.FunctionWrapper(function, hook)


def _is_inside(wrapper: Any, function: Any) -> bool:
    while function is not None and not _is_same(function, wrapper):
        function = getattr(function, "__wrapped__", None)
    return function is not None


def _is_same(function: Any, wrapper: Any) -> bool:
    """Return whether the function is the wrapper, or a bound form of it, which OpenTelemetry's `unwrap` puts back."""
    return function is wrapper or getattr(function, "_self_parent", None) is wrapper


def subclasses(owner: Any) -> Iterator[type[Any]]:
    """Yield all classes that inherit from a class; nothing for an object that is not a class."""
    direct: list[type[Any]] = type.__subclasses__(owner) if isinstance(owner, type) else []
    for below in direct:
        yield below
        yield from subclasses(below)


def patch(owner: Any, name: str, wrapper: Wrapper) -> Patch:
    """Wrap `owner.name`, which must be defined on `owner` itself.

    Raises AttributeError if it is missing, for example in a version of the library with another structure.
    """
    original = owner.__dict__.get(name)
    if original is None:
        raise AttributeError(f"{owner.__name__} has no {name}")
    replacement = wrapped_by(wrapper, original)
    setattr(owner, name, replacement)
    return Patch(owner=owner, name=name, original=original, replacement=replacement, wrapper=wrapper)


def shown(result: Any, show: Callable[[Any], object]) -> Any:
    """Return a result, which may be awaitable, and show it first. Errors in `show` are not the app's."""
    if isawaitable(result):
        return _shown_later(result, show)
    guarded(show, result)
    return result


async def _shown_later(result: Awaitable[Any], show: Callable[[Any], object]) -> Any:
    return shown(await result, show)


def replace(owner: Any, name: str, replacement: Any) -> Patch:
    """Replace `owner.name` by an object that is not a function, such as a property."""
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
        """Restore the original function, unless another wrapper was put over ours."""
        if self.cell.cell_contents is self.replacement:
            self.cell.cell_contents = self.original


def patch_inside(decorated: Callable[..., Any], variable: str, wrapper: Wrapper) -> CellPatch:
    """Wrap the function that `decorated`, the result of a decorator, calls by the name `variable` of its closure.

    It therefore does not matter which modules have imported `decorated`, or when. Raises AttributeError if
    neither `decorated` nor a function that it wraps has this variable.
    """
    function: Any = decorated
    while function is not None:
        names = getattr(getattr(function, "__code__", None), "co_freevars", ())
        if variable in names:
            cell = function.__closure__[names.index(variable)]
            original = cell.cell_contents
            replacement = cell.cell_contents = wrapped_by(wrapper, original)
            return CellPatch(cell=cell, original=original, replacement=replacement)
        function = getattr(function, "__wrapped__", None)
    raise AttributeError(f"{decorated.__name__} calls no {variable}")


def definer(owner: type[Any], name: str) -> type[Any]:
    """Return the class among `owner` and its bases that defines `name`. Raises AttributeError if none does."""
    for candidate in owner.__mro__:
        if name in candidate.__dict__:
            return candidate
    raise AttributeError(f"{owner.__name__} has no {name}")


def when_imported(module: str, action: Callable[[ModuleType], None]) -> None:
    """Run `action` with the module: now if it is loaded, otherwise right after its import. Never imports it."""
    loaded = sys.modules.get(module)
    if loaded is not None and not getattr(getattr(loaded, "__spec__", None), "_initializing", False):
        action(loaded)
    else:
        wrapt.register_post_import_hook(action, module)
