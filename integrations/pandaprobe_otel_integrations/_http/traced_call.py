"""Running a client's function that makes an HTTP call, with the call's span around it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from inspect import isawaitable
from types import CoroutineType
from typing import Any, Final, Protocol, TypeVar

from opentelemetry.context import Context, attach

from pandaprobe_otel_integrations._context_slot import restore
from pandaprobe_otel_integrations._guard import guarded

from .call import HttpCall


class Call(Protocol):
    """A call that is being made."""

    def raised(self, error: BaseException) -> None:
        """Record that the function has raised."""
        ...

    def returned(self) -> None:
        """Record that the function has returned, after its result was shown to the call."""
        ...


C = TypeVar("C", bound=Call)
Begun = tuple[C | None, Context]
"""A call and the context to run it in. If the request gets no span, the call is None."""
Opened = tuple[HttpCall | None, Context]
"""A call over HTTP and the context to run it in. If the request gets no span, the call is None."""
Show = Callable[[C, Any], None]
"""Shows a function's result to its call."""
_NOTHING: Final[Mapping[str, Any]] = {}


def show_response(call: HttpCall, response: Any) -> None:
    """Show the response to the call, for a function that returns an HTTP response with any status."""
    call.received(response, refused_is_final=True)


def around(
    opened: Begun[C] | None,
    wrapped: Callable[..., Any],
    args: tuple[Any, ...] = (),
    kwargs: Mapping[str, Any] = _NOTHING,
    *,
    show: Show[C] | None = None,
) -> Any:
    """Return or raise as `wrapped` does. `show` passes the returned value to the call."""
    if opened is None:
        return wrapped(*args, **kwargs)
    call, context = opened
    token = attach(context)
    try:
        result = wrapped(*args, **kwargs)
    except BaseException as error:
        if call is not None:
            guarded(call.raised, error)
        raise
    finally:
        restore(token)
    if call is not None:
        guarded(_returned, call, result, show)
    return result


async def around_async(
    opened: Begun[C] | None,
    wrapped: Callable[..., Any],
    args: tuple[Any, ...] = (),
    kwargs: Mapping[str, Any] = _NOTHING,
    *,
    show: Show[C] | None = None,
) -> Any:
    """Asynchronous counterpart of `around`; a result that is not awaitable is returned unchanged."""
    token = attach(opened[1]) if opened is not None else None
    call = opened[0] if opened is not None else None
    try:
        result = wrapped(*args, **kwargs)
        if result.__class__ is CoroutineType or isawaitable(result):
            result = await result
    except BaseException as error:
        if call is not None:
            guarded(call.raised, error)
        raise
    finally:
        if token is not None:
            restore(token)
    if call is not None:
        guarded(_returned, call, result, show)
    return result


def _returned(call: C, result: Any, show: Show[C] | None) -> None:
    try:
        if show is not None:
            show(call, result)
    finally:
        call.returned()
