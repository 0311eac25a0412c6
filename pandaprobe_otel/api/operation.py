"""Methods that are written once and exist twice: blocking in `Client`, awaitable in `AsyncClient`.

A part of a client (`Resource`) has the driver of its client as type argument. Its methods are of three kinds:

- `@endpoint(method, path)`: one request. The signature is the whole description: arguments that the path names fill the
  path, the others are the query or the body, and the return type is the answer.
- `@operation`: a course of steps (see `calls`), for what needs more than one request.
- `@every(list)`: all rows of a list, page by page. The return type is the row.

With the synchronous client, they return the result or an iterator; with the asynchronous client, a coroutine or an
asynchronous iterator. Type checkers see these types.
"""

from __future__ import annotations

import math
import re
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from dataclasses import replace
from functools import cache, cached_property, wraps
from inspect import Parameter, Signature, signature
from typing import Any, Concatenate, Final, Generic, ParamSpec, Required, Self, get_args, get_type_hints, overload

from pydantic import ConfigDict, with_config
from typing_extensions import TypedDict, TypeVar

from pandaprobe_otel.api.calls import AsyncDriver, Connection, Steps, SyncDriver, call, checked, invalid
from pandaprobe_otel.api.endpoint import Endpoint, Method, Rate, Repeat, Scope
from pandaprobe_otel.api.fields import MAX_PAGE
from pandaprobe_otel.api.models import Page
from pandaprobe_otel.errors import FieldError

T = TypeVar("T")
P = ParamSpec("P")
D = TypeVar("D", bound=SyncDriver | AsyncDriver, default=SyncDriver)

_REMEMBERED: Final = 10_000
"""Rows that are recognized when they come again: fifty of the largest pages may arrive between two requests."""
_typed_dict: Any = TypedDict  # type checkers know only those that are written out
_INNER: Final = re.compile(r"(?:Steps|PageWalk)\[(.*)\]")


class Resource(Generic[D]):
    """A part of a client. `kind` is the word for `{kind}` in the paths of its routes."""

    kind = ""

    def __init__(self, connection: Connection, driver: D) -> None:
        self._connection = connection
        self._driver = driver


class PageWalk(Generic[T]):
    """Walk through a list, from the first row to the last.

    The server counts pages from the top of the list at each request. A new row at the top moves the others down: they
    come again, are recognized by their first field, the id, and left out. A removed row moves the others up, so the
    next page starts earlier. So existing rows are returned exactly once, despite concurrent changes.

    Raises InvalidRequest for invalid arguments, before any request.
    """

    def __init__(
        self,
        connection: Connection,
        endpoint: Endpoint[Page[T]],
        *,
        query: Mapping[str, Any],
        page_size: int = MAX_PAGE,
        path: Mapping[str, object] | None = None,
        max_rows: int | None = None,
    ) -> None:
        first = {**query, "limit": page_size, "offset": 0}
        checked(endpoint.query, first, what=f"{endpoint} (page_size is its limit)")
        self._connection = connection
        self._endpoint = endpoint
        self._query = first
        self._path = path
        self._seen: dict[object, None] = {}
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
            key = next(iter(vars(row).values()))
            if key not in seen:
                seen[key] = None
                new.append(row)
        while len(seen) > _REMEMBERED:
            del seen[next(iter(seen))]
        return new


class operation(Generic[P, T]):
    """A method that returns a course of steps; see the module."""

    def __init__(self, method: Callable[Concatenate[Any, P], Steps[T]]) -> None:
        self.method = method
        self.__doc__ = method.__doc__

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...
    @overload
    def __get__(self, instance: Resource[SyncDriver], owner: type) -> Callable[P, T]: ...
    @overload
    def __get__(self, instance: Resource[AsyncDriver], owner: type) -> Callable[P, Coroutine[Any, Any, T]]: ...
    def __get__(self, instance: Any, owner: type) -> Any:
        if instance is None:
            return self
        driver = instance._driver

        def result(*args: P.args, **kwargs: P.kwargs) -> Any:
            return driver.run(self.method(instance, *args, **kwargs))

        async def awaited(*args: P.args, **kwargs: P.kwargs) -> Any:
            return await driver.run(self.method(instance, *args, **kwargs))

        return _dressed(awaited if isinstance(driver, AsyncDriver) else result, self.method, "{}")


class request(operation[P, T]):
    """A method that is one request; see the module."""

    def __init__(self, function: Callable[Concatenate[Any, P], T], route: Endpoint[Any]) -> None:
        self._route = route
        self._signature = signature(function)

        @wraps(function)
        def steps(resource: Any, /, *args: P.args, **kwargs: P.kwargs) -> Steps[T]:
            endpoint = self.endpoint.of(resource.kind)
            path, given = self.parts(resource, *args, **kwargs)
            return call(resource._connection, endpoint, path=path, query=given, body=given)

        super().__init__(steps)

    @cached_property
    def endpoint(self) -> Endpoint[T]:
        """The route, with the types of its arguments and answer."""
        hints = get_type_hints(self.method, include_extras=True)
        fields: dict[str, Any] = {}
        whole: Any = None
        for name, parameter in [*self._signature.parameters.items()][1:]:
            if parameter.kind is Parameter.VAR_KEYWORD:
                (whole,) = get_args(hints[name])
            elif _in_path(name) not in self._route.parameters:
                fields[name] = Required[hints[name]] if parameter.default is Parameter.empty else hints[name]
        if fields:
            more = {} if whole is None else get_type_hints(whole, include_extras=True)
            whole = with_config(ConfigDict(extra="forbid"))(_typed_dict("Arguments", fields | more, total=False))
        part = "query" if self._route.method in ("GET", "DELETE") else "body"
        return replace(self._route, answer=hints["return"], **{part: whole})

    def parts(self, resource: Any, *args: Any, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the arguments of a call: those for the path, and the others.

        Raises:
            InvalidRequest: neither this call nor the client names an organization.
        """
        bound = self._signature.bind(resource, *args, **kwargs)
        bound.apply_defaults()
        path: dict[str, Any] = {}
        given: dict[str, Any] = {}
        for name, value in [*bound.arguments.items()][1:]:
            if self._signature.parameters[name].kind is Parameter.VAR_KEYWORD:
                given |= value
            elif _in_path(name) in self._route.parameters:
                path[_in_path(name)] = value
            elif value is not None:
                given[name] = value
        if "org_id" in path and path["org_id"] is None:
            path["org_id"] = resource._connection.organization_id
            if path["org_id"] is None:
                what = FieldError("organization_id", "is missing: pass it here or to the client")
                raise invalid(str(self._route), what)
        return path, given


def _in_path(name: str) -> str:
    return "org_id" if name == "organization_id" else name


def endpoint(
    method: Method,
    path: str,
    *,
    repeat: Repeat = Repeat.SAFE,
    rate: Rate = Rate.OTHER,
    scope: Scope = Scope.PROJECT,
) -> Callable[[Callable[Concatenate[Any, P], T]], request[P, T]]:
    """Return a decorator for a method that is one request to this route."""
    route = Endpoint(method=method, path=path, answer=type(None), repeat=repeat, rate=rate, scope=scope)
    return lambda function: request(function, route)


class iteration(Generic[P, T]):
    """A method that returns a walk through a list; see the module."""

    def __init__(self, method: Callable[Concatenate[Any, P], PageWalk[T]]) -> None:
        self.method = method
        self.__doc__ = method.__doc__

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...
    @overload
    def __get__(self, instance: Resource[SyncDriver], owner: type) -> Callable[P, Iterator[T]]: ...
    @overload
    def __get__(self, instance: Resource[AsyncDriver], owner: type) -> Callable[P, AsyncIterator[T]]: ...
    def __get__(self, instance: Any, owner: type) -> Any:
        if instance is None:
            return self
        driver = instance._driver

        # The call itself creates the walk, so wrong arguments raise there and not at the first row.
        def rows(*args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
            return _rows(driver, self.method(instance, *args, **kwargs))

        def awaited_rows(*args: P.args, **kwargs: P.kwargs) -> AsyncIterator[T]:
            return _awaited_rows(driver, self.method(instance, *args, **kwargs))

        if isinstance(driver, AsyncDriver):
            return _dressed(awaited_rows, self.method, "AsyncIterator[{}]")
        return _dressed(rows, self.method, "Iterator[{}]")


def every(pages: request[Any, Page[T]]) -> Callable[[Callable[Concatenate[Any, P], T]], iteration[P, T]]:
    """Return a decorator for a method whose rows are those of all pages of a list."""

    def decorate(function: Callable[Concatenate[Any, P], T]) -> iteration[P, T]:
        written = signature(function)

        @wraps(function)
        def walk(resource: Any, /, *args: P.args, **kwargs: P.kwargs) -> PageWalk[T]:
            bound = written.bind(resource, *args, **kwargs)
            size = bound.arguments.pop("page_size", written.parameters["page_size"].default)
            path, query = pages.parts(*bound.args, **bound.kwargs)
            endpoint = pages.endpoint.of(resource.kind)
            return PageWalk(resource._connection, endpoint, path=path, query=query, page_size=size)

        return iteration(walk)

    return decorate


def _rows(driver: SyncDriver, walk: PageWalk[T]) -> Iterator[T]:
    while rows := driver.run(walk.next_rows()):
        yield from rows


async def _awaited_rows(driver: AsyncDriver, walk: PageWalk[T]) -> AsyncIterator[T]:
    while rows := await driver.run(walk.next_rows()):
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
    annotation = str(written.return_annotation)
    inner = _INNER.fullmatch(annotation)
    return written.replace(parameters=arguments, return_annotation=returns.format(inner[1] if inner else annotation))
