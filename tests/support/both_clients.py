"""Helpers with which one test covers both clients: they await awaitable results, and record the called methods."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, TypeAlias

from pandaprobe_otel.api.operation import Resource, iteration, operation


async def settled(value: Any) -> Any:
    """Return the result of a method of either client."""
    return await value if inspect.isawaitable(value) else value


async def rows_of(iterator: Iterator[Any] | AsyncIterator[Any], *, at_most: int | None = None) -> list[Any]:
    """Return the rows of an iterator of either client."""
    rows: list[Any] = []
    if isinstance(iterator, AsyncIterator):
        async for row in iterator:
            rows.append(row)
            if len(rows) == at_most:
                break
    else:
        for row in iterator:
            rows.append(row)
            if len(rows) == at_most:
                break
    return rows


class Watched:
    """A client, or a part of a client, whose methods are awaited, and that records the names of its operations.

    Those of a blocking client run in a thread; iterations are left as they are.
    """

    def __init__(self, part: Any, *, blocks: bool, called: set[str] | None = None, prefix: str = "") -> None:
        self._part = part
        self._blocks = blocks
        self._prefix = prefix
        self.called: set[str] = set() if called is None else called

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._part, name)
        if isinstance(value, Resource):
            return Watched(value, blocks=self._blocks, called=self.called, prefix=f"{self._prefix}{name}.")
        if _is_operation(self._part, name):
            self.called.add(f"{self._prefix}{name}")
        if name.startswith("iter") or not callable(value):
            return value

        async def call(*args: Any, **kwargs: Any) -> Any:
            if self._blocks:
                return await asyncio.to_thread(value, *args, **kwargs)
            return await settled(value(*args, **kwargs))

        return call


def operations_of(part: Resource[Any], prefix: str = "") -> dict[str, Any]:
    """Return every operation of a client by its dotted name, such as `traces.get`."""
    found = {f"{prefix}{name}": getattr(part, name) for name in dir(part) if _is_operation(part, name)}
    for name, value in vars(part).items():
        if isinstance(value, Resource):
            found |= operations_of(value, f"{prefix}{name}.")
    return found


def _is_operation(part: object, name: str) -> bool:
    return isinstance(inspect.getattr_static(type(part), name, None), operation | iteration)


Connect: TypeAlias = Callable[..., Watched]
"""Makes a client of either kind, as `connect(endpoint, **options)`."""
