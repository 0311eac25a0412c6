"""Running the function of a client that makes an HTTP call, with the call's span around it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from opentelemetry.context import Context, attach

from pandaprobe_otel_integrations._context_slot import restore
from pandaprobe_otel_integrations._guard import guarded

from .call import HttpCall


class Call(Protocol):
    """A call that is being made."""

    def raised(self, error: BaseException) -> None:
        """The function has raised."""
        ...

    def returned(self) -> None:
        """The function has returned, and the call was shown what."""
        ...


C = TypeVar("C", bound=Call)
Begun = tuple[C | None, Context]
"""A call with the context to run it in; no call but a context for a request that is not to be recorded there."""
Opened = tuple[HttpCall | None, Context]
"""The same for a request over HTTP."""
Show = Callable[[C, Any], None]
"""Shows a call what the function that makes it has returned."""


def show_response(call: HttpCall, response: Any) -> None:
    """For a function that returns the HTTP response, whatever its status."""
    call.received(response, refused_is_final=True)


def around(opened: Begun[C] | None, run: Callable[[], Any], *, show: Show[C] | None = None) -> Any:
    """What `run` returns or raises. `show` tells the call what it returned, if that says something."""
    if opened is None:
        return run()
    call, context = opened
    token = attach(context)
    try:
        result = run()
    except BaseException as error:
        if call is not None:
            guarded(call.raised, error)
        raise
    finally:
        restore(token)
    if call is not None:
        _returned(call, result, show)
    return result


async def around_async(opened: Begun[C] | None, run: Callable[[], Any], *, show: Show[C] | None = None) -> Any:
    """The same for a function that returns an awaitable; what is none is returned as it is."""
    token = attach(opened[1]) if opened is not None else None
    call = opened[0] if opened is not None else None
    try:
        result = run()
        if inspect.isawaitable(result):
            result = await result
    except BaseException as error:
        if call is not None:
            guarded(call.raised, error)
        raise
    finally:
        if token is not None:
            restore(token)
    if call is not None:
        _returned(call, result, show)
    return result


def _returned(call: C, result: Any, show: Show[C] | None) -> None:
    if show is not None:
        guarded(show, call, result)
    guarded(call.returned)
