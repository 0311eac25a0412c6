"""The behaviour of a trace: its content without ids, times, tokens and costs, which differ in every run."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, cast

_NOT_CONTENT: Final = frozenset(
    {
        *("trace_id", "span_id", "parent_span_id", "started_at", "ended_at", "completion_start_time", "session_id"),
        *("token_usage", "cost", "spans"),
    }
)
"""Fields of traces and spans that do not count as their content."""
_NOT_BEHAVIOUR: Final = re.compile(
    r"^(telemetry|service|process|host|pandaprobe_otel)\.|"
    r"(^|[._])(ids?|fingerprint|created|created_at|timestamp|time|duration|latency|usage|tokens|costs?|request_id)$"
)
"""Ignored names in metadata: the source of a recording, and numbers and counters of providers."""
_CALL_IDS: Final = frozenset({"tool_call_id", "call_id", "tool_use_id", "toolCallId", "toolUseId", "response_id"})
_CALL_MARKS: Final = frozenset({"function", "arguments", "args", "role", "tool_calls"})
"""Keys that mark an `id` beside them as that of a call or a message."""
_CALL_TYPES: Final = frozenset({"tool_use", "tool_call", "function_call", "reasoning", "message", "custom_tool_call"})
_SEALED: Final = frozenset({"signature", "thought_signature", "encrypted_content"})
_LONG: Final = 8
"""Shortest id that is also replaced inside texts. A shorter one may be an ordinary word or number."""


def behaviour_text(body: Mapping[str, Any]) -> str:
    """Return the behaviour as JSON. A judge sees no difference between traces with equal texts.

    The ids that a provider gives to answers and calls become numbers, in order of occurrence. So values that shared an
    id still share it.
    """
    spans: Sequence[Mapping[str, Any]] = body.get("spans") or ()
    places = {span.get("span_id"): number for number, span in enumerate(spans)}
    kept = [
        _content(body),
        [{**_content(span), "parent": places.get(span.get("parent_span_id"))} for span in spans],
    ]
    numbers: dict[str, str] = {}
    for found in _ids(kept):
        numbers.setdefault(found, f"#{len(numbers) + 1}")
    text = json.dumps(_numbered(kept, numbers), sort_keys=True, default=str)
    long = sorted((found for found in numbers if len(found) >= _LONG), key=len, reverse=True)
    if long:
        text = re.sub("|".join(map(re.escape, long)), lambda match: numbers[match[0]], text)
    return text


def _content(body: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in body.items() if name not in _NOT_CONTENT}
    kept["metadata"] = _shown(kept.get("metadata") or {})
    return kept


def _shown(metadata: Any) -> Any:
    if not isinstance(metadata, Mapping):
        return metadata
    named = cast("Mapping[str, Any]", metadata)
    return {name: _shown(value) for name, value in named.items() if not _NOT_BEHAVIOUR.search(name)}


def _is_call(value: Mapping[str, Any]) -> bool:
    return not _CALL_MARKS.isdisjoint(value) or value.get("type") in _CALL_TYPES


def _ids(value: Any) -> Iterator[str]:
    """Yield the ids of calls and messages, in order."""
    if isinstance(value, Mapping):
        named = cast("Mapping[str, Any]", value)
        for name, inner in named.items():
            if isinstance(inner, str) and inner and _is_id(name, named):
                yield inner
            else:
                yield from _ids(inner)
    elif isinstance(value, list | tuple):
        for inner in cast("Sequence[Any]", value):
            yield from _ids(inner)


def _numbered(value: Any, numbers: Mapping[str, str]) -> Any:
    if isinstance(value, Mapping):
        named = cast("Mapping[str, Any]", value)
        return {
            name: numbers[inner]
            if isinstance(inner, str) and inner and _is_id(name, named)
            else _numbered(inner, numbers)
            for name, inner in named.items()
            if name not in _SEALED
        }
    if isinstance(value, list | tuple):
        return [_numbered(inner, numbers) for inner in cast("Sequence[Any]", value)]
    return value


def _is_id(name: str, around: Mapping[str, Any]) -> bool:
    return name in _CALL_IDS or (name == "id" and _is_call(around))
