"""Delivery before a call returns, for platforms that freeze or end the process after each call."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial, wraps
from typing import Any, Final, ParamSpec, TypeVar, cast, overload

P = ParamSpec("P")
R = TypeVar("R")

_TIMEOUT_S: Final = 2.0
_RESERVE_S: Final = 0.2
"""Part of the call's time limit that is left for the platform."""


@overload
def flush_on_return(function: Callable[P, R], /) -> Callable[P, R]: ...


@overload
def flush_on_return(*, timeout: float = _TIMEOUT_S) -> Callable[[Callable[P, R]], Callable[P, R]]: ...


def flush_on_return(function: Callable[P, R] | None = None, /, *, timeout: float = _TIMEOUT_S) -> Any:
    """Deliver this call's traces before it returns, within `timeout` seconds.

    This decorator is for handlers of AWS Lambda and similar platforms, which may freeze the process as soon as they
    return. Put it outside the decorator that traces the handler. If a Lambda context is among the arguments, delivery
    never exceeds its remaining time. The function's result and exceptions pass unchanged. Sync and async functions are
    supported.
    """
    if function is None:
        return partial(_flushing, timeout=timeout)
    return _flushing(function, timeout=timeout)


def _flushing(function: Callable[..., Any], *, timeout: float) -> Callable[..., Any]:
    if inspect.iscoroutinefunction(function):

        @wraps(function)
        async def flushing_later(*args: Any, **kwargs: Any) -> Any:
            from pandaprobe_otel.bootstrap import aflush

            try:
                return await function(*args, **kwargs)
            finally:
                await aflush(_bounded(timeout, args))

        return flushing_later

    @wraps(function)
    def flushing(*args: Any, **kwargs: Any) -> Any:
        from pandaprobe_otel.bootstrap import flush

        try:
            return function(*args, **kwargs)
        finally:
            flush(_bounded(timeout, args))

    return flushing


def _bounded(timeout: float, args: tuple[Any, ...]) -> float:
    for argument in args:
        remaining = getattr(argument, "get_remaining_time_in_millis", None)
        if callable(remaining):
            return max(min(timeout, cast("float", remaining()) / 1000 - _RESERVE_S), 0.0)
    return timeout
