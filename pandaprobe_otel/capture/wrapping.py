"""Wrappers for functions of every kind: a `Scope` runs around each call; signature and type stay.

A wrapper is of the same type as its function (`inspect.iscoroutinefunction` and the like agree), and has its name,
documentation and signature. Arguments, results and exceptions pass unchanged.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import AsyncGenerator, Callable, Generator
from typing import Any, Final, TypeVar, cast

from pandaprobe_otel.capture.span_lifetime import ContextSwitch

F = TypeVar("F", bound="Callable[..., Any] | classmethod[Any, Any, Any]")


class Scope:
    """Code around one call; this base does nothing. None of its methods raises."""

    __slots__ = ()

    def resume(self) -> None:
        """Enter: code of the function is about to run."""

    def pause(self) -> None:
        """Leave: code of the function has stopped, for now or finally."""

    def produced(self, item: Any, /) -> None:
        """Take a yielded item."""

    def returned(self, value: Any, /) -> None:
        """End the scope with this value."""

    def raised(self, error: BaseException, /) -> None:
        """End the scope with this exception."""

    def interrupted(self) -> None:
        """Finish after an interrupt, which may have arrived inside one of these methods."""


Opener = Callable[[tuple[Any, ...], dict[str, Any]], Scope | None]
"""Makes the scope of a call from its arguments; returns None to make none. Does not raise."""


_NO_SCOPE: Final = Scope()


class ContextScope(ContextSwitch, Scope):
    """Scope that only sets an OpenTelemetry context."""

    def interrupted(self) -> None:
        """Restore the previous context."""
        self.pause()


def wrap(function: F, open_scope: Opener) -> F:
    """Return the function with a scope around each call; class and static methods stay class and static methods."""
    if isinstance(function, (classmethod, staticmethod)):
        method = cast("Any", function)
        return cast("F", method.__class__(wrap(method.__func__, open_scope)))
    callee: Callable[..., Any] = function
    if inspect.isasyncgenfunction(callee):
        wrapper = _around_async_generator(callee, open_scope)
    elif inspect.isgeneratorfunction(callee):
        wrapper = _around_generator(callee, open_scope)
    elif inspect.iscoroutinefunction(callee) or inspect.iscoroutinefunction(type(callee).__call__):
        wrapper = _around_coroutine(callee, open_scope)
    else:
        wrapper = _around_function(callee, open_scope)
    return cast("F", functools.update_wrapper(wrapper, callee))


def _around_function(function: Callable[..., Any], open_scope: Opener) -> Callable[..., Any]:
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        scope = open_scope(args, kwargs)
        if scope is None:
            return function(*args, **kwargs)
        try:
            try:
                scope.resume()
                result = function(*args, **kwargs)
            except BaseException as error:
                scope.pause()
                scope.raised(error)
                raise
            scope.pause()
            scope.returned(result)
            return result
        except BaseException:
            scope.interrupted()
            raise

    return wrapper


def _around_coroutine(function: Callable[..., Any], open_scope: Opener) -> Callable[..., Any]:
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        scope = open_scope(args, kwargs)
        if scope is None:
            return await function(*args, **kwargs)
        try:
            try:
                scope.resume()
                result = await function(*args, **kwargs)
            except BaseException as error:
                scope.pause()
                scope.raised(error)
                raise
            scope.pause()
            scope.returned(result)
            return result
        except BaseException:
            scope.interrupted()
            raise

    return wrapper


def _around_generator(function: Callable[..., Any], open_scope: Opener) -> Callable[..., Any]:
    def wrapper(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        generator: Generator[Any, Any, Any] = function(*args, **kwargs)
        scope = open_scope(args, kwargs)
        if scope is None:
            return (yield from generator)
        step: Callable[[Any], Any] = generator.send
        argument: Any = None
        try:
            while True:
                try:
                    scope.resume()
                    item = step(argument)
                except StopIteration as stop:
                    scope.pause()
                    scope.returned(stop.value)
                    return stop.value
                except BaseException as error:
                    argument = None  # it may be this same exception, which would make a cycle through this frame
                    scope.pause()
                    scope.raised(error)
                    raise
                scope.pause()
                scope.produced(item)
                try:
                    argument = yield item
                    step = generator.send
                except BaseException as error:  # noqa: BLE001 - thrown on at the next step
                    # Pass GeneratorExit too: the generator must see everything that a caller throws in.
                    step, argument = generator.throw, error
        except BaseException:
            scope.interrupted()
            raise

    return wrapper


def _around_async_generator(function: Callable[..., Any], open_scope: Opener) -> Callable[..., Any]:
    async def wrapper(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        generator: AsyncGenerator[Any, Any] = function(*args, **kwargs)
        scope = open_scope(args, kwargs) or _NO_SCOPE  # unlike above, `yield from` cannot replace the wrapper
        step: Callable[[Any], Any] = _first_step(generator)
        argument: Any = None
        try:
            while True:
                try:
                    scope.resume()
                    item = await step(argument)
                except StopAsyncIteration:
                    scope.pause()
                    scope.returned(None)
                    return
                except BaseException as error:
                    argument = None
                    scope.pause()
                    scope.raised(error)
                    raise
                scope.pause()
                scope.produced(item)
                try:
                    argument = yield item
                    step = generator.asend
                except BaseException as error:  # noqa: BLE001 - thrown on at the next step
                    step, argument = generator.athrow, error
        except BaseException:
            scope.interrupted()
            raise

    return wrapper


def _first_step(generator: AsyncGenerator[Any, Any]) -> Callable[[Any], Any]:
    """Return the `asend` of a generator without announcing the generator to its event loop.

    A loop that shuts down closes all generators that it knows at once. If it knew this one, the loop and the wrapper
    would close it at the same time, and one of them would fail with RuntimeError.
    """

    def first(argument: Any) -> Any:
        hooks = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(firstiter=None)
        try:
            return generator.asend(argument)  # only creates the awaitable; creating it announces the generator
        finally:
            sys.set_asyncgen_hooks(firstiter=hooks.firstiter)

    return first
