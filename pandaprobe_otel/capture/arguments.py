"""Conversion of the arguments of a call to the input of its span."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from difflib import SequenceMatcher
from typing import Any, Final

from pandaprobe_otel.process.guard import failed, mistake, pass_on

NOTHING: Final = object()
"""Marks a call that has no input to show."""

_POSITIONAL: Final = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.VAR_POSITIONAL)
_RECEIVERS = frozenset({"self", "cls", "mcs"})
_PLAIN_DEFAULTS: Final[tuple[type[Any], ...]] = (type(None), bool, int, float, str, bytes, list, tuple, dict)
_SAYS_NOTHING: Final = re.compile(r"<?\w+>?|.* at 0x[0-9a-fA-F]+>", re.DOTALL)
"""Text of sentinels: `NOT_GIVEN`, `<UNSET>`, `<object object at 0x...>`."""
_ALL_ARGUMENTS: Final = "*"
"""Key for every argument of a function."""
_SIMILAR: Final = 0.6
"""Share of common letters above which two names count as similar; a typing error leaves more."""
_TOO_SHORT: Final = 2
"""Length of names that are part of many other names by chance."""


class ArgumentReader:
    """Reader of the arguments of one function, without `self` and without the arguments that must not be recorded.

    Several arguments become an object by parameter name: first the given ones, then the defaults of the others. The
    members of `**kwargs` keep their own names. A single given argument becomes its bare value, and the defaults are
    recorded separately. With `keep_object`, a single argument also becomes an object. Without it, the input of an agent
    is the question itself, which evaluations read. A parameter called `messages` always keeps its name, because
    `{"messages": [...]}` is PandaProbe's own form.

    A name in `ignore` that no argument has may be misspelt, so the arguments that it may have meant are hidden too.
    The reader does not validate: a call with wrong arguments raises in the function itself.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        only: Collection[str] | None = None,
        ignore: Collection[str] = (),
        keep_object: bool = False,
        has_receiver: bool = True,
    ) -> None:
        self._keep_object = keep_object
        self._only = None if only is None else frozenset(only)
        self._hidden = frozenset(ignore)
        self._filters = bool(self._hidden) or self._only is not None
        parameters = parameters_of(function)
        self._markers = _hidden_by_mistake(function, parameters, ignore) if self._hidden else {}
        if only is not None:
            _warn_of_uncaptured(function, parameters, only)
        names = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        self._skip = 1 if has_receiver and names and names[0] in _RECEIVERS else 0
        self._positional = tuple(names[self._skip :])
        self._rest = next((p.name for p in parameters if p.kind is p.VAR_POSITIONAL), "args")
        self._words = next((p.name for p in parameters if p.kind is p.VAR_KEYWORD), "kwargs")
        kinds = {p.kind for p in parameters}
        # A call of `def f(a, /, *args, **kwargs)` may use these same names as keywords.
        self._may_collide = inspect.Parameter.VAR_KEYWORD in kinds and not kinds.isdisjoint(_POSITIONAL)
        self._named = frozenset(p.name for p in parameters if p.kind is not p.VAR_KEYWORD)
        self._template = self._made_template(parameters[self._skip :])
        required = {p.name for p in parameters if p.default is p.empty}
        self._defaults = {name: value for name, value in self._template.items() if name not in required}

    def read(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[object, dict[str, Any] | None]:
        """Return the input of this call, and the defaults that are not part of it (None if there are none).

        The input is `NOTHING` if no argument is to be shown.
        """
        if self._skip:
            args = args[1:]
        given: dict[str, Any] = dict(zip(self._positional, args))  # noqa: B905 - the function itself counts them
        if len(args) > len(self._positional):
            given[self._rest] = args[len(self._positional) :]
        if kwargs:
            if self._may_collide and not given.keys().isdisjoint(kwargs):
                given = {**kwargs, **given, self._words: {name: kwargs[name] for name in given if name in kwargs}}
            else:
                given.update(kwargs)
        if self._filters:
            if _ALL_ARGUMENTS in self._markers:
                return self._markers[_ALL_ARGUMENTS], None
            given = {name: self._markers.get(name, value) for name, value in given.items() if self._shows(name)}
        if len(given) == 1 and not self._keep_object:
            name, value = next(iter(given.items()))
            left_out = self._defaults and {key: item for key, item in self._defaults.items() if key != name}
            return (given if name == "messages" else value), left_out or None
        shown = given if self._template.keys() <= given.keys() else self._template | given
        return (shown if shown or self._keep_object else NOTHING), None

    def _made_template(self, parameters: list[inspect.Parameter]) -> dict[str, Any]:
        """Return the parameters in order with their defaults; a call replaces the values that it gives."""
        variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        return {
            p.name: self._markers.get(p.name, None if p.default is p.empty else p.default)
            for p in parameters
            if p.kind not in variable and (p.default is p.empty or _says_something(p.default)) and self._shows(p.name)
        }

    def _shows(self, name: str) -> bool:
        """Return whether to show a parameter. Names taken by `**kwargs` are also selected by the name `kwargs`."""
        labels = {name} if name in self._named else {name, self._words}
        return labels.isdisjoint(self._hidden) and (self._only is None or not labels.isdisjoint(self._only))


def _says_something(default: object) -> bool:
    """Return whether a default is a value, not a sentinel for "not given"."""
    if isinstance(default, _PLAIN_DEFAULTS):
        return True
    try:
        return _SAYS_NOTHING.fullmatch(repr(default)) is None
    except Exception as error:  # noqa: BLE001 - the `__repr__` of the user's value ran; counted and logged
        failed("a default", error)
        return False


def _signature(function: Callable[..., Any]) -> inspect.Signature:
    """Return the signature without evaluating annotations, whose names may be defined later or never."""
    if sys.version_info >= (3, 14):
        from annotationlib import Format

        return inspect.signature(function, annotation_format=Format.FORWARDREF)
    return inspect.signature(function)


def parameters_of(function: Callable[..., Any]) -> list[inspect.Parameter]:
    """Return the parameters of a function; an empty list if it has no signature."""
    try:
        return list(_signature(function).parameters.values())
    except (TypeError, ValueError) as error:  # a builtin without a signature: positional arguments appear as `args`
        pass_on(error)
        return []
    except Exception as error:  # noqa: BLE001 - a `__signature__` of the user's ran; counted and logged
        failed("signature", error)
        return []


def _hidden_by_mistake(
    function: Callable[..., Any], parameters: Sequence[inspect.Parameter], ignore: Collection[str]
) -> dict[str, str]:
    """Return markers, by argument name, for the arguments that an unknown name in `ignore` may have meant.

    These are the arguments with a similar name. If there are none, and no other name of `ignore` hides an argument,
    all arguments are hidden.
    """
    unknown = _unknown(parameters, ignore)
    markers: dict[str, str] = {}
    for name in unknown:
        similar = [p.name for p in parameters if _is_similar(name, p.name)]
        if not similar and len(unknown) < len(set(ignore)):
            meant, remedy = "nothing", "remove it, or correct it"
        else:
            meant = ", ".join(similar) or "every argument"
            remedy = "correct it"
            markers |= dict.fromkeys(similar or (_ALL_ARGUMENTS,), f"[hidden: ignore={name!r} names no argument]")
        mistake(
            f"ignore={name!r} names no argument of {_place(function)}, so {meant} is hidden in its spans: {remedy}."
        )
    return markers


def _warn_of_uncaptured(
    function: Callable[..., Any], parameters: Sequence[inspect.Parameter], only: Collection[str]
) -> None:
    """Warn about each name of `capture=` that no argument has, because its argument is not recorded."""
    for name in _unknown(parameters, only):
        mistake(
            f"capture={name!r} names no argument of {_place(function)}, so the intended argument is not recorded: "
            "correct the name."
        )


def _unknown(parameters: Sequence[inspect.Parameter], names: Collection[str]) -> list[str]:
    """Return the names that no argument has; empty for a function with `**kwargs` or without a signature."""
    if not parameters or any(p.kind is p.VAR_KEYWORD for p in parameters):
        return []
    known = {p.name for p in parameters}
    return [name for name in dict.fromkeys(names) if name not in known]


def _is_similar(name: str, other: str) -> bool:
    one, two = (text.lower().replace("_", "") for text in (str(name), other))
    short, long = sorted((one, two), key=len)
    return (len(short) > _TOO_SHORT and short in long) or SequenceMatcher(None, one, two).ratio() >= _SIMILAR


def _place(function: Callable[..., Any]) -> str:
    qualified = getattr(function, "__qualname__", type(function).__qualname__)
    return f"{getattr(function, '__module__', '?')}.{qualified}()"
