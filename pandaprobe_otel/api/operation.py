"""Methods that are written once and exist twice: blocking in `Client`, awaitable in `AsyncClient`.

`@operation` marks a method that returns a course of steps (see `calls`), `@iteration` one that returns a walk
through a list. On a resource of the synchronous client, the methods return the result and an iterator; on a resource of
the asynchronous client, they return a coroutine and an asynchronous iterator. Type checkers see these types.
"""

from __future__ import annotations

import math
import re
from collections.abc import AsyncIterator, Callable, Coroutine, Hashable, Iterator, Mapping
from functools import cache
from inspect import Signature, signature
from typing import (
    Any,
    Concatenate,
    Final,
    Generic,
    ParamSpec,
    Protocol,
    Self,
    TypeAlias,
    TypeVar,
    overload,
    runtime_checkable,
)
from uuid import UUID

from pandaprobe_otel.api.calls import AsyncDriver, Connection, Steps, SyncDriver, call, checked, invalid
from pandaprobe_otel.api.endpoint import Endpoint
from pandaprobe_otel.api.models import Page
from pandaprobe_otel.errors import FieldError


@runtime_checkable
class HasTraceId(Protocol):
    """A trace, or a trace in a list."""

    @property
    def trace_id(self) -> UUID:
        """Id of the trace."""
        ...


TraceRef: TypeAlias = UUID | str | HasTraceId
"""A trace, given by its id or as an object."""


def uuid_of(name: str, value: object, *, what: str) -> str:
    """Return an id in the form for a path.

    Raises:
        InvalidRequest: the id is not a UUID. For a span id of OpenTelemetry (16 digits), see `ids.span_uuid`.
    """
    try:
        return str(value if isinstance(value, UUID) else UUID(str(value)))
    except ValueError:
        raise invalid(what, FieldError(name, f"must be a UUID, not {str(value)[:80]!r}")) from None


def trace_uuid_of(trace: TraceRef, *, what: str) -> str:
    """Return the id of a trace that is given by its id or as an object."""
    return uuid_of("trace_id", trace.trace_id if isinstance(trace, HasTraceId) else trace, what=what)


def session_of(session_id: str, *, what: str) -> str:
    """Return a session id for a path.

    Raises:
        InvalidRequest: the server has no route to the session. Its id is empty, equals the name of another route, or
            has a slash. The server reads a slash as a separator even if it is encoded (measured on server 0.5.0).
    """
    problem = None
    if not isinstance(session_id, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        problem = f"must be a text, not {session_id!r:.80}"
    elif not session_id or session_id in (".", ".."):
        problem = "must not be empty or consist of dots only"
    elif "/" in session_id:
        problem = "has a slash: such a session can be listed, but the server has no route to it"
    elif session_id == "analytics":
        problem = "equals the name of the analytics route, so the server has no route to it"
    if problem is not None:
        raise invalid(what, FieldError("session_id", problem))
    return session_id


def organization_path(
    organization_id: UUID | str | None, default: str | None, *, what: str, **others: object
) -> dict[str, str]:
    """Return the path values of a route of an organization; `others` are additional ids.

    Raises:
        InvalidRequest: neither this call nor the client names an organization, or an id is not a UUID.
    """
    organization = default if organization_id is None else organization_id
    if organization is None:
        raise invalid(what, FieldError("organization_id", "is missing: pass it here or to the client"))
    path = {"org_id": uuid_of("organization_id", organization, what=what)}
    return {**path, **{name: uuid_of(name, value, what=what) for name, value in others.items()}}


T = TypeVar("T")

_REMEMBERED: Final = 10_000
"""Rows that are recognized when they come again: fifty of the largest pages may arrive between two requests."""


class PageWalk(Generic[T]):
    """Walk through a list, from the first row to the last.

    The server counts pages from the top of the list at each request. A new row at the top moves the others down: they
    come again, are recognized and left out. A removed row moves the others up, so the next page starts earlier. So
    existing rows are returned exactly once, despite concurrent changes.

    Raises InvalidRequest for invalid arguments, before any request.
    """

    def __init__(
        self,
        connection: Connection,
        endpoint: Endpoint[Page[T]],
        *,
        query: Mapping[str, Any],
        key: Callable[[T], Hashable],
        page_size: int,
        path: Mapping[str, object] | None = None,
        max_rows: int | None = None,
    ) -> None:
        first = {**query, "limit": page_size, "offset": 0}
        checked(endpoint.query, first, what=f"{endpoint} (page_size is its limit)")
        self._connection = connection
        self._endpoint = endpoint
        self._query = first
        self._path = path
        self._key = key
        self._seen: dict[Hashable, None] = {}
        self._offset = 0
        self._total: int | None = None
        self._left = math.inf if max_rows is None else max_rows
        self._ended = self._left < 1

    def next_rows(self) -> Steps[list[T]]:
        """Return the new rows of the next page; empty at the end of the list."""
        while not self._ended:
            query = {**self._query, "offset": self._offset}
            page = yield from call(self._connection, self._endpoint, path=self._path, query=query)
            if self._total is not None and page.total < self._total and self._offset:
                gone, self._total = self._total - page.total, page.total
                self._offset = max(self._offset - gone, 0)
                continue
            self._total = page.total
            self._offset += len(page.items)
            self._ended = not page.items or self._offset >= page.total
            if rows := self._new(page.items):
                rows = rows if len(rows) <= self._left else rows[: int(self._left)]
                self._left -= len(rows)
                self._ended |= self._left < 1
                return rows
        return []

    def _new(self, rows: list[T]) -> list[T]:
        new: list[T] = []
        seen = self._seen
        for row in rows:
            key = self._key(row)
            if key not in seen:
                seen[key] = None
                new.append(row)
        while len(seen) > _REMEMBERED:
            del seen[next(iter(seen))]
        return new


P = ParamSpec("P")

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
