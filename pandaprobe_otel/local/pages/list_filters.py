"""Filters in the form above the list of traces."""

from __future__ import annotations

from typing import Any, Final, Literal, get_args

from pydantic import BaseModel, Field

from pandaprobe_otel.api.fields import SortOrder, TraceSortBy
from pandaprobe_otel.local.search.language import All, Parsed, narrowed, parse
from pandaprobe_otel.local.store.trace_filter import Search, TraceFilter

_MICROS_OF: Final = {"hour": 3_600_000_000, "day": 86_400_000_000, "week": 7 * 86_400_000_000}

Column = Literal[
    "tags", "scores", "user", "release", "environment", "started", "duration", "spans", "tokens", "cost", "answer"
]  # fmt: skip
COLUMNS: Final[tuple[Column, ...]] = get_args(Column)
FIRST_COLUMNS: Final[tuple[Column, ...]] = ("tags", "scores", "started", "duration", "spans", "tokens", "cost")
"""Default columns. With `answer`, a row has lines for the input and output."""


class ListFilters(BaseModel, frozen=True):
    """Query of `/ui`. An empty text means any.

    `q` is a query of the search language.
    """

    q: str = ""
    status: str = ""
    within: Literal["", "hour", "day", "week"] = ""
    session: str = ""
    user: str = ""
    tag: str = ""
    sort: TraceSortBy = "started_at"
    order: SortOrder = "desc"
    show: tuple[Column, ...] = FIRST_COLUMNS
    project: str | None = None
    offset: int = Field(default=0, ge=0, le=2**62)

    @property
    def chosen(self) -> dict[str, str]:
        """The active filters, as values of a link."""
        named = {
            "q": self.q,
            "status": self.status,
            "within": self.within,
            "session": self.session,
            "user": self.user,
            "tag": self.tag,
        }
        return {name: value for name, value in named.items() if value}

    @property
    def kept(self) -> dict[str, Any]:
        """Values that links to other pages of the list repeat."""
        return {**self.chosen, "sort": self.sort, "order": self.order, "show": self.chosen_columns}

    @property
    def chosen_columns(self) -> tuple[Column, ...]:
        """The columns, if they are not the default."""
        return () if self.show == FIRST_COLUMNS else self.show

    def with_term(self, term: str, *, excluded: bool = False) -> dict[str, Any]:
        """Return the values of a link to the list with one more term, or without the term if it is there."""
        wanted = f"-{term}" if excluded else term
        others = f" {self.q} ".replace(f" -{term} ", " ").replace(f" {term} ", " ").strip()
        q = others if self.has(wanted) else narrowed(others, wanted)
        return {**self.kept, "q": q}

    def has(self, term: str) -> bool:
        """Return whether `q` contains a term."""
        return f" {term} " in f" {self.q} "

    @property
    def parsed(self) -> Parsed:
        """The parsed query `q`. Raises SearchError."""
        return parse(self.q)

    def trace_filter(self, now: int) -> TraceFilter:
        """Return the filter for the store. `now` is in microseconds since the epoch."""
        query = self.parsed.query
        return TraceFilter(
            search=None if query == All(()) else Search(query=query, now=now),
            status=self.status or None,
            session_id=self.session or None,
            user_id=self.user or None,
            tags=(self.tag,) if self.tag else (),
            after=now - _MICROS_OF[self.within] if self.within else None,
        )
