"""Conditions for the traces of a list, as SQL with bound values."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from pandaprobe_otel.local.payloads import dumps
from pandaprobe_otel.local.search.conditions import condition_of
from pandaprobe_otel.local.search.language import Query
from pandaprobe_otel.local.store.labels import LONGEST
from pandaprobe_otel.local.times import micros_of

_TAGGED: Final = (
    "seq IN (SELECT seq FROM trace_labels WHERE label IN (SELECT id FROM labels WHERE labels.project_id = ?"
    " AND key = 'tag' AND value IN (SELECT value FROM json_each(?))))"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """A query of the search language, at a moment in microseconds."""

    query: Query
    now: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceFilter:
    """Filters of a project's traces. None means any. `before` is exclusive."""

    session_id: str | None = None
    status: str | None = None
    user_id: str | None = None
    tags: tuple[str, ...] = ()
    name: str | None = None
    after: datetime | None = None
    before: datetime | None = None
    session_query: str | None = None
    search: Search | None = None

    @property
    def is_narrow(self) -> bool:
        """True if an index on one value leaves only a few traces to check."""
        return self.session_id is not None or self.user_id is not None

    def where(self, project_id: str) -> tuple[str, list[Any]]:
        """Return the SQL condition and its values."""
        clauses, values = ["project_id = ?"], list[Any]([project_id])
        equal = {"session_id": self.session_id, "status": self.status, "user_id": self.user_id}
        for column, value in equal.items():
            if value is not None:
                clauses.append(f"{column} = ?")
                values.append(value)
        if self.tags:
            clauses.append(_TAGGED)
            values += [project_id, dumps([tag[:LONGEST] for tag in self.tags]).decode()]
        for column, part in (("folded_name", self.name), ("lower(session_id)", self.session_query)):
            if part:
                clauses.append(f"instr({column}, ?) > 0")
                values.append(part.lower())
        if self.search is not None:
            condition, given = condition_of(self.search.query, project_id, now=self.search.now)
            clauses.append(condition)
            values += given
        for sign, moment in ((">=", self.after), ("<", self.before)):
            if moment is not None:
                clauses.append(f"started_at {sign} ?")
                values.append(micros_of(moment))
        return " AND ".join(clauses), values
