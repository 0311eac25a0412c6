"""Answers of an open recording to calls of decorated tools.

The functions of tools are wrapped where they are decorated, inside of their span, so that a played call has one too.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, Protocol, cast

from pandaprobe_otel.capture.arguments import ArgumentReader


class PlayedCall(Protocol):
    """A call of a tool that is not run."""

    def outcome(self) -> Any:
        """Return the recorded result, or raise the recorded exception."""
        ...


class RanCall(Protocol):
    """A call of a tool that runs."""

    def returned(self, result: Any, /) -> None:
        """Take the tool's result."""
        ...

    def raised(self, error: BaseException, /) -> None:
        """Take the tool's exception."""
        ...


Ask = Callable[[str, Mapping[str, Any]], "PlayedCall | RanCall | None"]
"""Asked before a tool runs, with its name and arguments. None: nobody wants to know."""

_asked: list[Ask] = []


def ask_with(ask: Ask | None) -> None:
    """Set the recording that answers; None for none."""
    _asked[:] = [] if ask is None else [ask]


def begin(name: str, arguments: Callable[[], Mapping[str, Any]]) -> PlayedCall | RanCall | None:
    """Ask the recording about a call that is about to run. Without a recording, the arguments are not read."""
    return _asked[0](name, arguments()) if _asked else None


def text_of(result: Any) -> str:
    """Return a result as a model gets it."""
    from pandaprobe_otel.capture.content import encode

    return result if isinstance(result, str) else encode(result)


def answered(function: Callable[..., Any], name: str, read: ArgumentReader | None) -> Callable[..., Any]:
    """Return a tool's function that asks the recording before each call.

    A generator is left as it is, and so is a function whose arguments are not captured (`read` is None).
    """
    if read is None or inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        return function

    def arguments(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Callable[[], Mapping[str, Any]]:
        def given() -> Mapping[str, Any]:
            found: Any = read(args, kwargs)
            return cast("Mapping[str, Any]", found) if isinstance(found, dict) else {}

        return given

    if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__):

        async def around_coroutine(*args: Any, **kwargs: Any) -> Any:
            call = begin(name, arguments(args, kwargs)) if _asked else None
            if call is None:
                return await function(*args, **kwargs)
            if (played := getattr(call, "outcome", None)) is not None:
                return played()
            ran: Any = call
            try:
                result = await function(*args, **kwargs)
            except BaseException as error:
                ran.raised(error)
                raise
            ran.returned(result)
            return result

        return functools.update_wrapper(around_coroutine, function)

    def around(*args: Any, **kwargs: Any) -> Any:
        call = begin(name, arguments(args, kwargs)) if _asked else None
        if call is None:
            return function(*args, **kwargs)
        if (played := getattr(call, "outcome", None)) is not None:
            return played()
        ran: Any = call
        try:
            result = function(*args, **kwargs)
        except BaseException as error:
            ran.raised(error)
            raise
        ran.returned(result)
        return result

    return functools.update_wrapper(around, function)
