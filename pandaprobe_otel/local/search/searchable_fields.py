"""Searchable fields and the types of their values."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Final, TypeAlias

Operand: TypeAlias = str | float
"""A text, in which `*` matches any characters, or a number: microseconds for times and moments."""


class SearchError(ValueError):
    """Error for an invalid search. `position` counts its characters from 0."""

    def __init__(self, message: str, position: int) -> None:
        super().__init__(message)
        self.position = position


class FieldKind(Enum):
    """Type of a field's values."""

    TEXT = "text"
    NUMBER = "number"
    DURATION = "duration"
    MOMENT = "moment"
    SCORE = "score"

    @property
    def is_ordered(self) -> bool:
        """True if values can be compared with < and >."""
        return self in (FieldKind.NUMBER, FieldKind.DURATION, FieldKind.SCORE)


@dataclass(frozen=True, slots=True)
class SearchField:
    """A field: its name, the type of its values, and an example for error messages."""

    key: str
    kind: FieldKind
    example: str
    meaning: str


FIELDS: Final = {
    field.key: field
    for field in (
        SearchField("status", FieldKind.TEXT, "status:error", "how the trace ended"),
        SearchField("name", FieldKind.TEXT, "name:shop*", "the trace's name"),
        SearchField("session", FieldKind.TEXT, "session:s-17", "the session's id"),
        SearchField("user", FieldKind.TEXT, "user:u-4", "the user's id"),
        SearchField("tag", FieldKind.TEXT, "tag:beta", "a tag of the trace"),
        SearchField("env", FieldKind.TEXT, "env:production", "the environment"),
        SearchField("release", FieldKind.TEXT, "release:2.3*", "the release"),
        SearchField("tool", FieldKind.TEXT, "tool:refund", "a tool that ran"),
        SearchField("failed", FieldKind.TEXT, "failed:refund", "a span that failed, by its name"),
        SearchField("agent", FieldKind.TEXT, "agent:planner", "an agent that ran"),
        SearchField("retriever", FieldKind.TEXT, "retriever:kb", "a retriever that ran"),
        SearchField("model", FieldKind.TEXT, "model:gpt-5*", "a model that was called"),
        SearchField(
            "error_type",
            FieldKind.TEXT,
            "error_type:TimeoutError",
            "the type of a span's error, with or without its module: openai.RateLimitError",
        ),
        SearchField("meta", FieldKind.TEXT, "meta.tier:gold", "a value of the trace's metadata"),
        SearchField("latency", FieldKind.DURATION, "latency>5s", "from start to end"),
        SearchField("ttft", FieldKind.DURATION, "ttft>2s", "until the first token of a model call"),
        SearchField("tokens", FieldKind.NUMBER, "tokens>10k", "all tokens"),
        SearchField("cost", FieldKind.NUMBER, "cost>0.05", "all costs, in US dollars"),
        SearchField("spans", FieldKind.NUMBER, "spans>100", "the number of spans"),
        SearchField("score", FieldKind.SCORE, "score:task_completion<0.5", "the latest score of a name"),
        SearchField("after", FieldKind.MOMENT, "after:2d", "started since"),
        SearchField("before", FieldKind.MOMENT, "before:2026-01-31", "started earlier"),
    )
}
_UNITS: Final = {"us": 1, "µs": 1, "ms": 1e3, "s": 1e6, "m": 6e7, "min": 6e7, "h": 3.6e9, "d": 8.64e10, "w": 6.048e11}
_NUMBER: Final = re.compile(r"(-?\d{1,15}(?:\.\d{1,15})?)\s?([a-zµ]{0,3})", re.IGNORECASE)
_FACTORS: Final = {"": 1.0, "k": 1e3, "m": 1e6}


def read_operand(field: SearchField, text: str, at: int, comparison: str) -> Operand:
    """Return the value of a text for a field. Raises SearchError for an invalid one.

    An age (`after:2d`) is negative; the reader subtracts it from the current time.
    """
    if field.kind is FieldKind.TEXT:
        return text
    if field.kind is FieldKind.MOMENT:
        return _moment(field, text, at)
    if field.kind is FieldKind.DURATION and comparison == "=":
        raise SearchError(f"{field.key} needs a comparison: {field.example}", at)
    found = _NUMBER.fullmatch(text)
    units = _UNITS if field.kind is FieldKind.DURATION else _FACTORS
    factor = units.get(found[2].lower()) if found is not None else None
    if found is None or factor is None:
        what = f"no unit “{found[2]}”" if found is not None and found[2] else f"no value “{text[:40]}”"
        raise SearchError(f"{field.key} has {what}: try {field.example}", at)
    value = float(found[1]) * factor
    if not math.isfinite(value):
        raise SearchError(f"{field.key} is too large", at)
    return value


def _moment(field: SearchField, text: str, at: int) -> float:
    age = _NUMBER.fullmatch(text)
    if age is not None and (factor := _UNITS.get(age[2].lower())) is not None:
        return -abs(float(age[1]) * factor)
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1e6
    except (ValueError, OverflowError):
        raise SearchError(
            f"{field.key} cannot read “{text[:40]}” as a time: try {field.key}:2d or {field.key}:2026-01-31", at
        ) from None
