"""Conversion of a query into an SQL condition for traces. Columns come from a table, and user input is always bound."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

from pandaprobe_otel.local.search.language import All, AnyOf, Field, Flag, Not, Query, Text
from pandaprobe_otel.local.search.searchable_fields import Operand
from pandaprobe_otel.local.search.text_words import phrase_of
from pandaprobe_otel.local.store.blocks import BITS
from pandaprobe_otel.local.store.labels import LONGEST

COST_UNITS: Final = 1e9
"""Costs are compared in billionths of a dollar."""
_LABELLED: Final = (
    "seq IN (SELECT seq FROM trace_labels WHERE label IN"
    " (SELECT id FROM labels WHERE labels.project_id = ? AND key = ? AND {}))"
)
_SCORED: Final = "seq IN (SELECT trace_seq FROM latest_scores WHERE latest_scores.project_id = ?{})"
_WITH_WORDS: Final = f"seq IN (SELECT rowid >> {BITS} FROM words WHERE words MATCH ?)"
_IDS: Final = {"session": "session_id", "user": "user_id"}
_NUMBERS: Final = {
    "tokens": "total_tokens",
    "cost": f"CAST(total_cost * {COST_UNITS} + 0.5 AS INTEGER)",
    "spans": "span_count",
    "latency": "(ended_at - started_at)",
}
_RISING: Final = (">", ">=")


@dataclass(slots=True)
class _Writer:
    project_id: str
    now: int
    values: list[Any] = field(default_factory=list[Any])

    def write(self, query: Query) -> str:
        """Return the condition for a query, and append its values in order."""
        match query:
            case All(parts):
                return _joined([self.write(part) for part in parts], " AND ", "TRUE")
            case AnyOf(parts):
                return _joined([self.write(part) for part in parts], " OR ", "FALSE")
            case Not(part):
                return f"NOT coalesce({self.write(part)}, FALSE)"
            case Flag("error"):
                return self._labelled("", "value = ?", "error")
            case Flag("running"):
                return "status IN ('RUNNING', 'PENDING')"
            case Flag():
                return self._bound(_SCORED.format(""), self.project_id)
            case Text(text, is_prefix):
                return self._words(text, is_prefix)
            case Field():
                return _joined([self._compared(query, operand) for operand in query.operands], " OR ", "FALSE")

    def _words(self, text: str, is_prefix: bool) -> str:
        phrase = phrase_of(text, is_prefix=is_prefix)
        if phrase is None:
            return "TRUE"
        found = self._bound(_WITH_WORDS, phrase.match)
        identifier = uuid_in(text)
        return found if identifier is None else f"({found} OR {self._bound('trace_id = ?', identifier)})"

    def _compared(self, asked: Field, operand: Operand) -> str:
        if isinstance(operand, str):
            return self._text(asked, operand)
        sign = asked.comparison
        match asked.key:
            case "after" | "before":
                moment = int(self.now + operand if operand <= 0 else operand)
                return self._bound(f"started_at {'>=' if asked.key == 'after' else '<'} ?", moment)
            case "score":
                return self._bound(
                    _SCORED.format(f" AND name = ? AND number {sign} ?"), self.project_id, asked.name, operand
                )
            case "ttft":
                return self._bound(f"{'longest' if asked.comparison in _RISING else 'shortest'}_ttft {sign} ?", operand)
            case "cost":
                return self._bound(f"{_NUMBERS['cost']} {sign} ?", round(operand * COST_UNITS, 3))
            case key:
                return self._bound(f"{_NUMBERS[key]} {sign} ?", operand)

    def _text(self, asked: Field, text: str) -> str:
        """Compare a text. `*` matches any characters. Case is ignored, except in ids, which have an index."""
        if asked.key in _IDS:
            column = _IDS[asked.key]
            if "*" not in text:
                return self._bound(f"{column} = ?", text)
            return self._bound(f"{column} LIKE ? ESCAPE '\\'", like_pattern(text))
        key = f"meta.{asked.name}" if asked.key == "meta" else asked.key
        forms = type_forms(text) if asked.key == "error_type" else (text,)
        written = [self._labelled(key, "value LIKE ? ESCAPE '\\'", like_pattern(form[:LONGEST])) for form in forms]
        return _joined(written, " OR ", "FALSE")

    def _labelled(self, key: str, condition: str, value: str) -> str:
        return self._bound(_LABELLED.format(condition), self.project_id, key, value)

    def _bound(self, condition: str, *values: Any) -> str:
        self.values += values
        return condition


def type_forms(name: str) -> tuple[str, str]:
    """Return the beginnings of the types of errors that a name finds: `RateLimitError` also `openai.RateLimitError`."""
    return f"{name}*", f"*.{name}*"


def like_pattern(text: str) -> str:
    """Return the `LIKE` pattern of a text in which `*` matches any characters."""
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_").replace("*", "%")


def uuid_in(text: str) -> str | None:
    """Return a text as a stored id; None if it is not an id."""
    try:
        return str(UUID(text.strip()))
    except ValueError:
        return None


def condition_of(query: Query, project_id: str, *, now: int) -> tuple[str, list[Any]]:
    """Return the condition for the traces of a project that match a query, and its values. `now` is in microseconds.

    It names sets of traces as `seq IN (...)`.
    """
    writer = _Writer(project_id, now)
    return writer.write(query), writer.values


def _joined(parts: list[str], word: str, empty: str) -> str:
    return f"({word.join(parts)})" if parts else empty
