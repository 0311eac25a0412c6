"""Running the function of a client that makes an HTTP call, with the call's span around it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from opentelemetry.context import Context, attach

from pandaprobe_otel_integrations._context_slot import restore
from pandaprobe_otel_integrations._guard import guarded

from .call import HttpCall

Opened = tuple[HttpCall | None, Context]
"""A call with the context to run it in; no call but a context for a request that is not to be recorded there."""


def around(opened: Opened | None, run: Callable[[], Any], *, returns_response: bool = False) -> Any:
    """What `run` returns or raises. With `returns_response`, what it returns is the HTTP response."""
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
        _returned(call, result, returns_response)
    return result


async def around_async(opened: Opened | None, run: Callable[[], Any], *, returns_response: bool = False) -> Any:
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
        _returned(call, result, returns_response)
    return result


def _returned(call: HttpCall, result: Any, returns_response: bool) -> None:
    if returns_response:
        guarded(call.received, result, refused_is_final=True)
    guarded(call.returned)
