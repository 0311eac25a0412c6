"""Hook through which an open recording answers tool calls.

Decorated tools are wrapped where they are decorated, tools of frameworks where they are called. Both run inside the
call's span, so that a played call has a span too.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Final, Protocol, cast

from pandaprobe_otel.capture.content import ArgumentReader, encode


class PlayedCall(Protocol):
    """A tool call that is answered from a recording; the tool does not run."""

    def outcome(self) -> Any:
        """Return the recorded result, or raise the recorded exception."""
        ...


class RanCall(Protocol):
    """A tool call that runs the tool, and is recorded."""

    def running(self) -> AbstractContextManager[None]:
        """Return the block that the call runs in."""
        ...

    def returned(self, result: Any, /) -> None:
        """Record the tool's result."""
        ...

    def raised(self, error: BaseException, /) -> None:
        """Record the tool's exception."""
        ...

    def runs_always(self) -> None:
        """Mark the tool as one that must run in a replay, too."""
        ...


Ask = Callable[[str, Mapping[str, Any], "str | None"], "PlayedCall | RanCall | None"]
"""Called before a tool runs, with its name, its arguments, and the model's id of the call, if it is known. None: no
recording wants the call.
"""

_asked: list[Ask] = []


def _same(value: Any) -> Any:
    return value


def _never(_: Any) -> bool:
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """Form in which the results of a framework's tools are kept.

    Attributes:
        kept: Returns a result as JSON.
        given: Returns a result from JSON.
        steers: Returns whether an exception is a signal to the framework, such as a wait for a person, and not a
            failure. A tool that raises one must always run.
    """

    kept: Callable[[Any], Any] = _same
    given: Callable[[Any], Any] = _same
    steers: Callable[[BaseException], bool] = _never


AS_IT_IS: Final = Form()


def ask_with(ask: Ask | None) -> None:
    """Set the recording that answers calls; None for none."""
    _asked[:] = [] if ask is None else [ask]


def is_replaying() -> bool:
    """Return whether a recording answers tool calls now."""
    return bool(_asked)


def call(
    name: str,
    arguments: Callable[[], Mapping[str, Any]],
    function: Callable[[], Any],
    form: Form = AS_IT_IS,
    *,
    call_id: str | None = None,
) -> Any:
    """Return a tool's recorded result, or run its function. Reads the arguments only if a recording asks for them."""
    ran: Any = _asked[0](name, arguments(), call_id) if _asked else None
    if ran is None:
        return function()
    if (played := getattr(ran, "outcome", None)) is not None:
        return form.given(played())
    try:
        with ran.running():
            result = function()
    except BaseException as error:
        _raised(ran, error, form)
        raise
    if inspect.iscoroutine(result):  # other awaitables are the app's own objects
        return _awaited(ran, result, form)
    ran.returned(form.kept(result))
    return result


async def call_async(
    name: str,
    arguments: Callable[[], Mapping[str, Any]],
    function: Callable[[], Awaitable[Any]],
    form: Form = AS_IT_IS,
    *,
    call_id: str | None = None,
) -> Any:
    """Return the result of a tool's coroutine function, as `call` does."""

    async def run() -> Any:
        return await function()

    found = call(name, arguments, run, form, call_id=call_id)
    return await found if inspect.iscoroutine(found) else found


async def _awaited(ran: RanCall, result: Awaitable[Any], form: Form) -> Any:
    try:
        with ran.running():
            found = await result
    except BaseException as error:
        _raised(ran, error, form)
        raise
    ran.returned(form.kept(found))
    return found


def _raised(ran: RanCall, error: BaseException, form: Form) -> None:
    if form.steers(error):
        ran.runs_always()
    else:
        ran.raised(error)


def text_of(result: Any) -> str:
    """Return a result as the text that a model gets."""
    return result if isinstance(result, str) else encode(result)


def answered(function: Callable[..., Any], name: str, read: ArgumentReader | None) -> Callable[..., Any]:
    """Return a tool's function that asks the recording before each call.

    Generators stay as they are, and so do functions whose arguments are not captured (`read` is None).
    """
    if read is None or inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        return function

    def given(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Mapping[str, Any]:
        found: Any = read.read(args, kwargs)[0]
        return cast("Mapping[str, Any]", found) if isinstance(found, dict) else {}

    if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__):

        async def around_coroutine(*args: Any, **kwargs: Any) -> Any:
            if not _asked:
                return await function(*args, **kwargs)
            return await call_async(name, lambda: given(args, kwargs), lambda: function(*args, **kwargs))

        return functools.update_wrapper(around_coroutine, function)

    def around(*args: Any, **kwargs: Any) -> Any:
        if not _asked:
            return function(*args, **kwargs)
        return call(name, lambda: given(args, kwargs), lambda: function(*args, **kwargs))

    return functools.update_wrapper(around, function)
