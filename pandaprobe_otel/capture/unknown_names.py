"""Names in `ignore=` and `capture=` that no argument has. A misspelt name must not expose the argument it meant."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Sequence
from difflib import SequenceMatcher
from typing import Any, Final

from pandaprobe_otel.process.guard import mistake

ALL_ARGUMENTS: Final = "*"
"""Key for every argument of a function."""
_SIMILAR: Final = 0.6
"""Share of common letters above which two names count as similar; a typing error leaves more."""
_TOO_SHORT: Final = 2
"""Length of names that are part of many other names by chance."""


def hidden_by_mistake(
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
            markers |= dict.fromkeys(similar or (ALL_ARGUMENTS,), f"[hidden: ignore={name!r} names no argument]")
        mistake(
            f"ignore={name!r} names no argument of {_place(function)}, so {meant} is hidden in its spans: {remedy}."
        )
    return markers


def warn_of_uncaptured(
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
