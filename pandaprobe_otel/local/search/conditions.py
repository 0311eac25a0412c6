"""Conversion of a query into an SQL condition. Columns come from a table, and user input is always bound."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

from pandaprobe_otel.local.sealing.facets import COST_UNITS, ERROR_TYPES, LONGEST_ERROR_TYPE
from pandaprobe_otel.local.search.language import All, AnyOf, Field, Flag, Not, Query, Text
from pandaprobe_otel.local.search.searchable_fields import Operand
from pandaprobe_otel.local.search.text_words import as_argument, phrase_of

_COLUMNS: Final = {
    "status": "status",
    "name": "name",
    "session": "session_id",
    "user": "user_id",
    "env": "environment",
    "release": "release",
    "tokens": "total_tokens",
    "cost": f"CAST(total_cost * {COST_UNITS} + 0.5 AS INTEGER)",
    "spans": "span_count",
    "latency": "(ended_at - started_at)",
}
_KINDS: Final = {"tool": "TOOL", "agent": "AGENT", "retriever": "RETRIEVER"}
_SPANS: Final = "EXISTS (SELECT 1 FROM spans WHERE trace_seq = traces.seq AND {})"
_TAGS: Final = (
    "EXISTS (SELECT 1 FROM trace_tags WHERE trace_tags.project_id = traces.project_id"
    " AND trace_tags.trace_seq = traces.seq AND {})"
)
_METADATA: Final = (
    "EXISTS (SELECT 1 FROM trace_payloads, json_each(trace_payloads.metadata) AS entry"
    " WHERE trace_payloads.seq = traces.seq AND entry.key = ? AND {})"
)
_SCORES: Final = (
    "EXISTS (SELECT 1 FROM latest_scores WHERE latest_scores.project_id = traces.project_id"
    " AND trace_seq = traces.seq AND name = ? AND {})"
)
_AROUND: Final = {
    "model": _SPANS,
    "error_type": _SPANS,
    "ttft": _SPANS,
    "tag": _TAGS,
    "meta": _METADATA,
    "score": _SCORES,
}
_FLAGS: Final = {
    "error": "(status = 'ERROR' OR " + _SPANS.format("spans.status = 'ERROR'") + ")",
    "running": "status IN ('RUNNING', 'PENDING')",
    "scored": "EXISTS (SELECT 1 FROM latest_scores WHERE trace_seq = traces.seq)",
}
_WORDS: Final = (
    "has_words(name, ?) OR EXISTS (SELECT 1 FROM trace_payloads WHERE trace_payloads.seq = traces.seq"
    " AND (json_has_words(input, ?) OR json_has_words(output, ?)))"
    " OR EXISTS (SELECT 1 FROM whole_spans AS spans WHERE trace_seq = traces.seq AND (has_words(spans.name, ?)"
    " OR has_words(error, ?) OR json_has_words(input, ?) OR json_has_words(output, ?)))"
)
_NAMED_TYPES: Final = ", ".join(
    f"CASE json_type(metadata, '$.{key}') WHEN 'text' THEN NULLIF(json_extract(metadata, '$.{key}'), '') END"
    for key in ERROR_TYPES
)
_ERROR_TYPE: Final = (
    f"CASE WHEN error IS NOT NULL THEN substr(COALESCE({_NAMED_TYPES},"
    f" substr(error, 1, instr(error || ':', ':') - 1)), 1, {LONGEST_ERROR_TYPE}) END"
)
_VALUE: Final = "CASE entry.type WHEN 'true' THEN 'true' WHEN 'false' THEN 'false' ELSE entry.value END"


@dataclass(slots=True)
class _Writer:
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
            case Flag(name):
                return _FLAGS[name]
            case Text(text, is_prefix):
                return self._words(text, is_prefix)
            case Field():
                return self._field(query)

    def _words(self, text: str, is_prefix: bool) -> str:
        phrase = phrase_of(text, is_prefix=is_prefix)
        if phrase is None:
            return "TRUE"
        identifier = uuid_in(text)
        if identifier is not None:
            self.values.append(identifier)
        self.values += [as_argument(phrase)] * _WORDS.count("?")
        return f"({'' if identifier is None else 'trace_id = ? OR '}{_WORDS})"

    def _field(self, asked: Field) -> str:
        if asked.key in ("meta", "score"):
            self.values.append(asked.name)
        written = [self._compared(asked, operand) for operand in asked.operands]
        inner = _joined(written, " OR ", "FALSE")
        if asked.key in _KINDS:
            return _SPANS.format(f"kind = '{_KINDS[asked.key]}' AND {inner}")
        if asked.key == "failed":
            return _SPANS.format(f"spans.status = 'ERROR' AND {inner}")
        return _AROUND[asked.key].format(inner) if asked.key in _AROUND else inner

    def _compared(self, asked: Field, operand: Operand) -> str:
        if asked.key in ("after", "before"):
            assert isinstance(operand, float)
            self.values.append(int(self.now + operand if operand <= 0 else operand))
            return f"started_at {'>=' if asked.key == 'after' else '<'} ?"
        if not isinstance(operand, str):
            self.values.append(round(operand * COST_UNITS, 3) if asked.key == "cost" else operand)
            column = {"ttft": "(completion_start_time - spans.started_at)", "score": "number"}.get(asked.key)
            return f"{column or _COLUMNS[asked.key]} {asked.comparison.value} ?"
        if asked.key == "error_type":
            return f"({' OR '.join(self._text(_ERROR_TYPE, form, exact=False) for form in type_forms(operand))})"
        column = {
            "model": "model",
            "tag": "tag",
            "meta": _VALUE,
            "failed": "spans.name",
        }.get(asked.key, "spans.name" if asked.key in _KINDS else "")
        return self._text(column or _COLUMNS[asked.key], operand, exact=asked.key in ("session", "user"))

    def _text(self, column: str, text: str, *, exact: bool) -> str:
        """Compare a text. `*` matches any characters. Case is ignored, except in ids, which have an index."""
        if exact and "*" not in text:
            self.values.append(text)
            return f"{column} = ?"
        self.values.append(like_pattern(text))
        return f"{column} LIKE ? ESCAPE '\\'"


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


def condition_of(query: Query, *, now: int) -> tuple[str, list[Any]]:
    """Return the condition for the traces that match a query, and its values. `now` is in microseconds."""
    writer = _Writer(now)
    return writer.write(query), writer.values


def _joined(parts: list[str], word: str, empty: str) -> str:
    return f"({word.join(parts)})" if parts else empty
