"""Check of a search query against one trace.

The row of a list answers most terms. The whole trace and its scores are read only for the others.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from functools import cached_property
from typing import Any, Final

from pandaprobe_otel.api import Client
from pandaprobe_otel.api.models import Trace, TraceListItem
from pandaprobe_otel.local.search.conditions import type_forms
from pandaprobe_otel.local.search.language import All, AnyOf, Field, Flag, Not, Query, Text
from pandaprobe_otel.local.search.searchable_fields import Comparison
from pandaprobe_otel.local.search.text_words import has_phrase, phrase_of, strings_in
from pandaprobe_otel.local.store.labels import error_type
from pandaprobe_otel.protocols.encoding import dump

_IN_ROWS: Final = frozenset(
    {
        "status",
        "name",
        "session",
        "user",
        "tag",
        "env",
        "release",
        "tokens",
        "cost",
        "spans",
        "latency",
        "after",
        "before",
    }
)
_KINDS: Final = {"tool": "TOOL", "agent": "AGENT", "retriever": "RETRIEVER"}
_COMPARE: Final[Mapping[Comparison, Callable[[float, float], bool]]] = {
    Comparison.EQUAL: lambda value, wanted: value == wanted,
    Comparison.LESS: lambda value, wanted: value < wanted,
    Comparison.AT_MOST: lambda value, wanted: value <= wanted,
    Comparison.MORE: lambda value, wanted: value > wanted,
    Comparison.AT_LEAST: lambda value, wanted: value >= wanted,
}


class TooManyTraces(Exception):
    """The limit of whole traces for one search is reached."""


class LookedAt:
    """Limit of one search: at most `most` whole traces, in addition to rows."""

    def __init__(self, client: Client, *, now: datetime, most: int) -> None:
        self.client = client
        self.now = now
        self.left = most

    def take(self) -> None:
        """Count a trace that is read. Raises TooManyTraces."""
        if self.left <= 0:
            raise TooManyTraces
        self.left -= 1


class _Candidate:
    """A trace that is checked, and the parts read so far."""

    def __init__(self, row: TraceListItem, looked_at: LookedAt) -> None:
        self.row = row
        self.now = looked_at.now
        self._looked_at = looked_at

    @cached_property
    def trace(self) -> Trace:
        self._looked_at.take()
        return self._looked_at.client.traces.get(self.row.trace_id)

    @cached_property
    def scores(self) -> dict[str, float]:
        self._looked_at.take()
        found = self._looked_at.client.scores.of_trace(self.row.trace_id)
        return {one.name: float(one.parsed) for one in found if isinstance(one.parsed, float | int)}

    @cached_property
    def has_scores(self) -> bool:
        self._looked_at.take()
        return bool(self._looked_at.client.scores.of_trace(self.row.trace_id))


def matches(query: Query, row: TraceListItem, looked_at: LookedAt) -> bool:
    """Return whether a trace matches. Raises TooManyTraces, and the errors of reading it."""
    return _matches(query, _Candidate(row, looked_at))


def _matches(query: Query, asked: _Candidate) -> bool:
    match query:
        case All(parts):
            return all(_matches(part, asked) for part in sorted(parts, key=_weight))
        case AnyOf(parts):
            return any(_matches(part, asked) for part in sorted(parts, key=_weight))
        case Not(part):
            return not _matches(part, asked)
        case Flag(name):
            return _has_flag(name, asked)
        case Text():
            return _contains(query, asked)
        case Field():
            return any(_has(query, operand, asked) for operand in query.operands)


def _weight(query: Query) -> int:
    """Return a sort key: terms that the rows of a list can answer come first, so that fewer traces are read."""
    match query:
        case All(parts) | AnyOf(parts):
            return max(map(_weight, parts), default=0)
        case Not(part):
            return _weight(part)
        case Field():
            return 0 if query.key in _IN_ROWS else 1
        case Flag(name):
            return 0 if name == "running" else 1
        case Text():
            return 2


def _has_flag(name: str, asked: _Candidate) -> bool:
    if name == "running":
        return asked.row.status in ("RUNNING", "PENDING")
    if name == "scored":
        return asked.has_scores
    return asked.row.status == "ERROR" or any(span.status == "ERROR" for span in asked.trace.spans)


def _contains(asked_for: Text, asked: _Candidate) -> bool:
    phrase = phrase_of(asked_for.text, is_prefix=asked_for.is_prefix)
    if phrase is None or asked_for.text.strip().lower() == str(asked.row.trace_id):
        return True
    if has_phrase((asked.row.name,), phrase):
        return True
    trace = asked.trace
    payloads = (
        *(trace.input, trace.output),
        *(value for span in trace.spans for value in (span.name, span.error, span.input, span.output)),
    )
    return any(has_phrase(strings_in(dump(value)), phrase) for value in payloads if value is not None)


def _has(field: Field, operand: str | float, asked: _Candidate) -> bool:
    if isinstance(operand, str):
        if field.key == "error_type":
            return any(_has_type(value, operand) for value in _texts(field, asked))
        fits = _pattern(operand, exact=field.key in ("session", "user"))
        return any(value is not None and fits(str(value)) for value in _texts(field, asked))
    if field.key in ("after", "before"):
        moment = asked.now.timestamp() + operand / 1e6 if operand <= 0 else operand / 1e6
        started = asked.row.started_at.timestamp()
        return started >= moment if field.key == "after" else started < moment
    compare = _COMPARE[field.comparison]
    return any(value is not None and compare(value, operand) for value in _numbers(field, asked))


def _texts(field: Field, asked: _Candidate) -> Iterable[Any]:
    row = asked.row
    in_row = {
        "status": (row.status,),
        "name": (row.name,),
        "session": (row.session_id,),
        "user": (row.user_id,),
        "tag": row.tags,
        "env": (row.environment,),
        "release": (row.release,),
    }
    if field.key in in_row:
        return in_row[field.key]
    spans = asked.trace.spans
    match field.key:
        case "meta":
            value = asked.trace.metadata.get(field.name)
            return (str(value).lower() if isinstance(value, bool) else value,)
        case "model":
            return (span.model for span in spans)
        case "error_type":
            return (error_type(span.error, span.metadata) for span in spans if span.error)
        case "failed":
            return (span.name for span in spans if span.status == "ERROR")
        case _:
            return (span.name for span in spans if span.kind == _KINDS[field.key])


def _numbers(field: Field, asked: _Candidate) -> Iterable[float | None]:
    row = asked.row
    match field.key:
        case "tokens":
            return (row.total_tokens,)
        case "cost":
            return (row.total_cost,)
        case "spans":
            return (row.span_count,)
        case "latency":
            return (None if row.latency_ms is None else row.latency_ms * 1000,)
        case "score":
            return (asked.scores.get(field.name),)
        case _:
            times = (span.time_to_first_token_ms for span in asked.trace.spans)
            return (None if time is None else time * 1000 for time in times)


def _has_type(value: str, name: str) -> bool:
    return any(_pattern(form, exact=False)(value) for form in type_forms(name))


def _pattern(text: str, *, exact: bool) -> Callable[[str], bool]:
    """Return the comparison with a text in which `*` matches any characters. Case is ignored, except in ids."""
    if exact and "*" not in text:
        return lambda value: value == text
    compiled = re.compile(".*".join(map(re.escape, text.split("*"))), re.IGNORECASE | re.DOTALL)
    return lambda value: compiled.fullmatch(value) is not None
