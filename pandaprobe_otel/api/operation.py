"""Methods that are written once and exist twice: blocking in `Client`, awaitable in `AsyncClient`.

`@operation` marks a method that returns a course of steps (see `call_steps`), `@iteration` one that returns a walk
through a list. On a resource of the synchronous client, the methods return the result and an iterator; on a resource of
the asynchronous client, they return a coroutine and an asynchronous iterator. Type checkers see these types.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from functools import cache
from inspect import Signature, signature
from typing import Any, Concatenate, Final, Generic, ParamSpec, Self, TypeVar, overload

from pandaprobe_otel.api.call_steps import Connection, Steps
from pandaprobe_otel.api.drivers import AsyncDriver, SyncDriver
from pandaprobe_otel.api.paging import PageWalk

P = ParamSpec("P")
T = TypeVar("T")

_INNER: Final = re.compile(r"(?:Steps|PageWalk)\[(.*)\]")


class Resource:
    """A part of a client."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection


class SyncResource(Resource):
    """A part of the synchronous client."""

    def __init__(self, connection: Connection, driver: SyncDriver) -> None:
        super().__init__(connection)
        self._driver = driver

    def run_steps(self, steps: Steps[T]) -> T:
        """Execute a course of steps."""
        return self._driver.run(steps)


class AsyncResource(Resource):
    """A part of the asynchronous client."""

    def __init__(self, connection: Connection, driver: AsyncDriver) -> None:
        super().__init__(connection)
        self._driver = driver

    async def run_steps(self, steps: Steps[T]) -> T:
        """Execute a course of steps."""
        return await self._driver.run(steps)


class operation(Generic[P, T]):
    """A method that returns a course of steps; see the module."""

    def __init__(self, method: Callable[Concatenate[Any, P], Steps[T]]) -> None:
        self.method = method
        self.__doc__ = method.__doc__

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...
    @overload
    def __get__(self, instance: SyncResource, owner: type) -> Callable[P, T]: ...
    @overload
    def __get__(self, instance: AsyncResource, owner: type) -> Callable[P, Coroutine[Any, Any, T]]: ...
    def __get__(self, instance: SyncResource | AsyncResource | None, owner: type) -> Any:
        method = self.method
        if instance is None:
            return self
        if isinstance(instance, SyncResource):

            def result(*args: P.args, **kwargs: P.kwargs) -> T:
                return instance.run_steps(method(instance, *args, **kwargs))

            return _dressed(result, method, "{}")

        async def awaited(*args: P.args, **kwargs: P.kwargs) -> T:
            return await instance.run_steps(method(instance, *args, **kwargs))

        return _dressed(awaited, method, "{}")


class iteration(Generic[P, T]):
    """A method that returns a walk through a list; see the module."""

    def __init__(self, method: Callable[Concatenate[Any, P], PageWalk[T]]) -> None:
        self.method = method
        self.__doc__ = method.__doc__

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...
    @overload
    def __get__(self, instance: SyncResource, owner: type) -> Callable[P, Iterator[T]]: ...
    @overload
    def __get__(self, instance: AsyncResource, owner: type) -> Callable[P, AsyncIterator[T]]: ...
    def __get__(self, instance: SyncResource | AsyncResource | None, owner: type) -> Any:
        method = self.method
        if instance is None:
            return self
        # The call itself creates the walk, so wrong arguments raise there and not at the first row.
        if isinstance(instance, SyncResource):

            def rows(*args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
                return _rows(instance, method(instance, *args, **kwargs))

            return _dressed(rows, method, "Iterator[{}]")

        def awaited_rows(*args: P.args, **kwargs: P.kwargs) -> AsyncIterator[T]:
            return _awaited_rows(instance, method(instance, *args, **kwargs))

        return _dressed(awaited_rows, method, "AsyncIterator[{}]")


def _rows(resource: SyncResource, walk: PageWalk[T]) -> Iterator[T]:
    while rows := resource.run_steps(walk.next_rows()):
        yield from rows


async def _awaited_rows(resource: AsyncResource, walk: PageWalk[T]) -> AsyncIterator[T]:
    while rows := await resource.run_steps(walk.next_rows()):
        for row in rows:
            yield row


def _dressed(function: Any, method: Callable[..., Any], returns: str) -> Any:
    """Give the function the method's name, help text and arguments, and its own return type."""
    function.__name__, function.__qualname__, function.__doc__ = method.__name__, method.__qualname__, method.__doc__
    function.__module__ = method.__module__
    function.__signature__ = _seen_from_outside(method, returns)
    return function


@cache
def _seen_from_outside(method: Callable[..., Any], returns: str) -> Signature:
    written = signature(method)
    _, *arguments = written.parameters.values()
    row = _INNER.fullmatch(str(written.return_annotation))
    return written.replace(parameters=arguments, return_annotation=returns.format(row[1] if row else "Any"))
