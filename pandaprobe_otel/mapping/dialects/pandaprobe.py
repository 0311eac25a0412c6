"""Attributes that this library's own decorators and context managers write."""

from __future__ import annotations

from typing import Any, Final

from pandaprobe_otel.mapping import attributes as names
from pandaprobe_otel.mapping import usage
from pandaprobe_otel.mapping.dialect_table import KINDS, Dialect, KindRule, Row, named
from pandaprobe_otel.mapping.usage import amounts
from pandaprobe_otel.mapping.values import count, mapping, one_of, scalar, text, texts, type_of


def _bag(value: Any) -> dict[str, int] | None:
    source = mapping(value)
    if source is None:
        return None
    counts = usage.provider_counts(source) or {}
    for counter, name in usage.DETAILS:
        found = count(source.get(name))
        if found is not None:
            counts.setdefault(counter, found)
    return counts or None


def _parameters(value: Any) -> dict[str, Any] | None:
    # Set explicitly by the app, so every name is intended; only empty values are left out.
    source = mapping(value)
    return {key: item for key, item in source.items() if item is not None} if source else None


_STATUS: Final = one_of("PENDING", "RUNNING", "COMPLETED", "ERROR")
_OUTCOME: Final = one_of(names.CANCELLED, names.TIMED_OUT, names.INTERRUPTED, names.PARTIAL)


def _true(value: Any) -> bool | None:
    return True if value is True else None


def _nanoseconds(value: Any) -> int | None:
    return value if type_of(value) is int and value > 0 else None


_OWN: Final = (
    names.KIND, names.INPUT, names.OUTPUT, names.MODEL, names.TOKEN_USAGE, names.COST, names.COMPLETION_START_TIME,
    names.SPAN_METADATA, names.ERROR, names.OUTCOME, names.REPLAY,
)  # fmt: skip


DIALECT: Final = Dialect(
    name="pandaprobe",
    title="PandaProbe decorators",
    namespaces=_OWN,
    kinds=(KindRule(names.KIND, {kind.lower(): kind for kind in sorted(KINDS)}, states=True),),
    rows=(
        Row("parameters", names.MODEL_PARAMETERS, _parameters),
        Row("first_token_ns", names.COMPLETION_START_TIME, _nanoseconds),
        Row("outcome", names.OUTCOME, _OUTCOME, "outcome of work that neither succeeded nor failed"),
        Row("cached", names.CACHED, _true, "tokens and cost do not count"),
        Row("metadata", names.SPAN_METADATA, mapping),
        Row("metadata.replay", names.REPLAY, mapping, "data to rebuild a call, with `init(replayable=True)`"),
        Row("metadata.project", names.PROJECT, text),
        Row("trace.metadata", names.METADATA, mapping),
        Row("usage.bag", names.TOKEN_USAGE, _bag),
        Row("cost", names.COST, amounts),
        Row("metadata.cached", names.CACHED, _true),
        Row("tags", names.TAGS, texts),
        Row("trace.status", names.TRACE_STATUS, _STATUS),
        *named(
            scalar,
            {
                "input": names.INPUT,
                "output": names.OUTPUT,
                "trace.input": names.TRACE_INPUT,
                "trace.output": names.TRACE_OUTPUT,
            },
        ),
        *named(
            text,
            {
                "model": names.MODEL,
                "error.own": names.ERROR,
                "metadata.code.function.name": names.FUNCTION_NAME,
                "session_id": names.SESSION_ID,
                "user_id": names.USER_ID,
                "environment": names.ENVIRONMENT,
                "release": names.RELEASE,
                "trace.name": names.TRACE_NAME,
            },
        ),
    ),
)
