"""Conditions for the traces of a list, as SQL with bound values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from pandaprobe_otel.local.payloads import dumps
from pandaprobe_otel.local.search.conditions import condition_of
from pandaprobe_otel.local.search.language import Query

TAGGED: Final = "SELECT {} FROM trace_tags WHERE project_id = ? AND tag IN (SELECT value FROM json_each(?))"
_RARELY_TAGGED: Final = f"seq IN ({TAGGED.format('trace_seq')})"
_OFTEN_TAGGED: Final = f"EXISTS ({TAGGED.format('1')} AND trace_seq = seq)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """A query of the search language, at a moment in microseconds."""

    query: Query
    now: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceFilter:
    """Filters of a project's traces. None means any. Moments are microseconds, and `before` is exclusive."""

    session_id: str | None = None
    status: str | None = None
    user_id: str | None = None
    tags: tuple[str, ...] = ()
    name: str | None = None
    after: int | None = None
    before: int | None = None
    session_query: str | None = None
    search: Search | None = None

    @property
    def is_for_tags_alone(self) -> bool:
        """True if the only filter is by tags."""
        return bool(self.tags) and self == TraceFilter(tags=self.tags)

    @property
    def is_narrow(self) -> bool:
        """True if an index on one value leaves only a few traces to check."""
        return self.session_id is not None or self.user_id is not None

    def where(self, project_id: str, *, tags_are_rare: bool = False) -> tuple[str, list[Any]]:
        """Return the SQL condition and its values. `tags_are_rare` changes only the order of the search, for speed."""
        # The plus keeps SQLite from reading all traces of the project to find a few by their tags.
        clauses, values = ["+project_id = ?" if self.tags and tags_are_rare else "project_id = ?"], [project_id]
        equal = {"session_id": self.session_id, "status": self.status, "user_id": self.user_id}
        for column, value in equal.items():
            if value is not None:
                clauses.append(f"{column} = ?")
                values.append(value)
        if self.tags:
            clauses.append(_RARELY_TAGGED if tags_are_rare else _OFTEN_TAGGED)
            values += [project_id, dumps(self.tags).decode()]
        if self.name:
            clauses.append("instr(folded_name, ?) > 0")
            values.append(self.name.lower())
        if self.session_query:
            clauses.append("instr(lower(session_id), ?) > 0")
            values.append(self.session_query.lower())
        if self.search is not None:
            condition, given = condition_of(self.search.query, now=self.search.now)
            clauses.append(condition)
            values += given
        return _window(clauses, values, self.after, self.before)


def _window(clauses: list[str], values: list[Any], after: int | None, before: int | None) -> tuple[str, list[Any]]:
    if after is not None:
        clauses.append("started_at >= ?")
        values.append(after)
    if before is not None:
        clauses.append("started_at < ?")
        values.append(before)
    return " AND ".join(clauses), values
