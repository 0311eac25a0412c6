"""Iteration over all rows of a list, page by page, even while rows are added and removed."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping
from typing import Any, Final, Generic, TypeVar

from pandaprobe_otel.api.call_steps import Connection, Steps, call
from pandaprobe_otel.api.encoding import checked
from pandaprobe_otel.api.endpoint import Endpoint
from pandaprobe_otel.api.models import Page

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
