"""Code around calls and blocks: a `Scope` runs around each call of a wrapped function, of every kind.

A wrapper is of the same type as its function (`inspect.iscoroutinefunction` and the like agree), and has its name,
documentation and signature. Arguments, results and exceptions pass unchanged.

An interrupt (Ctrl-C) may strike between any two instructions. So the outermost function of ours, the wrapper or a
method of `Block`, has a guard that undoes everything; the code inside needs none.
"""

from __future__ import annotations

import functools
import inspect
import sys
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Generator
from contextvars import Token
from types import TracebackType
from typing import Any, Final, Generic, TypeVar, cast

from opentelemetry.context import Context, attach, detach, get_current

from pandaprobe_otel.process.guard import pass_on

E = TypeVar("E", bound="Scope")
V = TypeVar("V")
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

    def left(self, error: BaseException | None) -> None:
        """Leave the scope of a block finally, with the exception that leaves it."""
        self.pause()
        if error is not None:
            self.raised(error)
        else:
            self.returned(None)

    def interrupted(self) -> None:
        """Finish after an interrupt, which may have arrived inside one of these methods."""


Opener = Callable[[tuple[Any, ...], dict[str, Any]], Scope | None]
"""Makes the scope of a call from its arguments; returns None to make none. Does not raise."""


NO_SCOPE: Final = Scope()


class ContextScope(Scope):
    """Scope that makes an OpenTelemetry context current while code of the function runs.

    A generator is resumed and paused at each step, always inside one task, so its consumer never sees this context.
    """

    __slots__ = ("_outer", "_token", "context")

    def __init__(self, context: Context) -> None:
        self.context = context
        self._outer: Context | None = None
        self._token: Token[Context] | None = None

    def resume(self) -> None:
        """Make the context current."""
        self._outer = get_current()
        self._token = attach(self.context)

    def pause(self) -> None:
        """Restore the previous context, and keep the context that the code has made meanwhile for the next `resume`."""
        token = self._token
        if token is not None:
            self.context = get_current()
            restore(token)
            self._token = None

    def interrupted(self) -> None:
        """Restore the previous context."""
        self.pause()
        if self._outer is not None and get_current() is self.context:  # made current, but no token shows it
            attach(self._outer)


def restore(token: Token[Context]) -> None:
    """Restore the OpenTelemetry context that was current before `attach` returned this token.

    A block may be closed by another task or by the garbage collector. Then there is nothing to restore, and
    `opentelemetry.context.detach` would log an error.
    """
    if type(token) is not Token:  # from another runtime context, chosen by OTEL_PYTHON_CONTEXT
        detach(token)
        return
    try:
        token.var.reset(token)
    except (ValueError, RuntimeError) as error:
        pass_on(error)


class Block(ABC, Generic[E, V]):
    """Base of `with` and `async with` blocks. Each use has a scope, and gives a value to the code inside."""

    __slots__ = ()

    @abstractmethod
    def _new_scope(self) -> E:
        """Return a new scope. Nothing begins before its `resume`."""

    @abstractmethod
    def _given(self, scope: E) -> V:
        """Return what the code inside gets."""

    @abstractmethod
    def _innermost(self) -> Scope:
        """Return the scope to leave; `NO_SCOPE` if there is nothing to undo."""

    def __enter__(self) -> V:
        scope = self._new_scope()
        try:
            scope.resume()
            return self._given(scope)
        except BaseException:
            scope.interrupted()
            raise

    async def __aenter__(self) -> V:
        scope = self._new_scope()
        try:
            scope.resume()
            return self._given(scope)
        except BaseException:
            scope.interrupted()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        scope = None
        try:
            scope = self._innermost()
            scope.left(error)
        except BaseException:
            (scope or self._innermost()).interrupted()
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        scope = None
        try:
            scope = self._innermost()
            scope.left(error)
        except BaseException:
            (scope or self._innermost()).interrupted()
            raise


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
            scope.resume()
            try:
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
            scope.resume()
            try:
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
                scope.resume()
                try:
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
        scope = open_scope(args, kwargs) or NO_SCOPE  # unlike above, `yield from` cannot replace the wrapper
        step: Callable[[Any], Any] = _first_step(generator)
        argument: Any = None
        try:
            while True:
                scope.resume()
                try:
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
