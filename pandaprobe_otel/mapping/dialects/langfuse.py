"""Langfuse's SDK (5.0): each of its values is JSON text or plain text, and its usage buckets do not overlap."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from pandaprobe_otel.mapping import parameters
from pandaprobe_otel.mapping.dialect_table import Dialect, KindRule, Row, named, other_kind
from pandaprobe_otel.mapping.span_view import SpanView
from pandaprobe_otel.mapping.usage import amounts, counts_from
from pandaprobe_otel.mapping.values import decoded, flat, mapping, scalar, text, texts, type_of, unquoted, usable

_TYPES: Final = {
    "generation": "LLM", "embedding": "EMBEDDING", "agent": "AGENT", "tool": "TOOL", "retriever": "RETRIEVER",
    "chain": "CHAIN", "evaluator": "OTHER", "guardrail": "OTHER", "event": "OTHER",
}  # fmt: skip
_BUCKETS: Final = {
    "input": "prompt", "input_tokens": "prompt", "prompt_tokens": "prompt", "promptTokens": "prompt",
    "output": "completion", "output_tokens": "completion", "completion_tokens": "completion",
    "completionTokens": "completion", "total": "total", "total_tokens": "total", "totalTokens": "total",
    "input_cached_tokens": "cache_read", "input_cache_read": "cache_read", "cache_read_input_tokens": "cache_read",
    "cached_tokens": "cache_read", "input_cache_creation": "cache_write",
    "cache_creation_input_tokens": "cache_write", "input_cache_creation_tokens": "cache_write",
    "output_reasoning_tokens": "reasoning", "output_reasoning": "reasoning", "reasoning_tokens": "reasoning",
    "input_audio_tokens": "audio", "output_audio_tokens": "audio",
}  # fmt: skip


def _kind(value: Any, view: SpanView) -> str | None:
    name = unquoted(value)
    if name is None:
        return None
    if name.lower() == "span":  # SDKs up to 3.3 wrote generations as spans
        asked = any(
            key.startswith(("langfuse.observation.model", "langfuse.observation.usage")) for key in view.attributes
        )
        return "LLM" if asked else None
    return _TYPES.get(name.lower())


def usage_details(value: Any) -> dict[str, int] | None:
    """Return the counters of Langfuse's buckets, marked as not overlapping unless the numbers show otherwise."""
    source = mapping(value)
    counts = counts_from(source, _BUCKETS) if source is not None else None
    if not counts:
        return None
    total = counts.get("total")
    if total is None or counts.get("prompt", 0) + counts.get("completion", 0) != total:
        counts["cache_excluded"] = counts["reasoning_excluded"] = 1
    return counts


def _iso_time(value: Any) -> int | None:
    written = unquoted(value)
    if written is None:
        return None
    try:
        moment = datetime.fromisoformat(written)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    seconds = (moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()
    return round(seconds * 1_000_000) * 1000


def _failed(value: Any) -> bool | None:
    return True if unquoted(value) == "ERROR" else None


def _values(tree: Any) -> dict[str, Any]:
    return {key: scalar(item) for key, item in flat(tree).items()}


def _input(value: Any) -> Any:
    """Return the input without the tool definitions that Langfuse's LangChain handler appends to its messages."""
    messages = _with_definitions(value)
    return usable(value) if messages is None else [one for one in messages if not _is_definition(one)]


def _tools(value: Any) -> list[Any] | None:
    messages = _with_definitions(value)
    return None if messages is None else [decoded(one["content"]) for one in messages if _is_definition(one)]


def _with_definitions(value: Any) -> list[Any] | None:
    if type_of(value) is str and '"function"' not in value and '\\"function\\"' not in value:
        return None
    messages = decoded(value)
    return messages if type_of(messages) is list and any(map(_is_definition, messages)) else None


def _is_definition(message: Any) -> bool:
    if type_of(message) is not dict or message.get("role") != "tool" or "tool_call_id" in message:
        return False
    content = decoded(message.get("content"))
    return type_of(content) is dict and content.get("type") == "function" and type_of(content.get("function")) is dict


DIALECT: Final = Dialect(
    name="langfuse",
    title="Langfuse SDK",
    namespaces=("langfuse.observation.", "langfuse.trace.input", "langfuse.trace.output"),
    kinds=(
        KindRule(
            "langfuse.observation.type",
            _TYPES,
            decide=_kind,
            states=True,
            note="`span` with a model or usage is an LLM span (SDK <= 3.3), a plain `span` has no kind",
        ),
    ),
    rows=(
        Row("metadata.span_kind", "langfuse.observation.type", other_kind, "only if PandaProbe has no such kind"),
        Row("input", "langfuse.observation.input", _input, "without tool definitions"),
        Row("metadata.tools", "langfuse.observation.input", _tools),
        Row("parameters", "langfuse.observation.model.parameters", parameters.bag),
        Row("usage.bag", "langfuse.observation.usage_details", usage_details, "buckets exclude each other"),
        Row("first_token_ns", "langfuse.observation.completion_start_time", _iso_time),
        Row("error.flag", "langfuse.observation.level", _failed),
        Row("metadata", "langfuse.observation.metadata", mapping),
        Row("metadata", "langfuse.observation.metadata.*", _values),
        Row("trace.metadata", "langfuse.trace.metadata", mapping),
        Row("trace.metadata", "langfuse.trace.metadata.*", _values),
        Row("trace.metadata", "langfuse.version", lambda value: {"version": value} if text(value) else None),
        Row("output", "langfuse.observation.output"),
        Row("cost", "langfuse.observation.cost_details", amounts),
        Row("metadata.prompt_version", "langfuse.observation.prompt.version", scalar),
        Row("tags", "langfuse.trace.tags", texts),
        *named(
            unquoted,
            {
                "model": "langfuse.observation.model.name",
                "error.text": "langfuse.observation.status_message",
                "metadata.status_message": "langfuse.observation.status_message",
                "metadata.level": "langfuse.observation.level",
                "metadata.prompt_name": "langfuse.observation.prompt.name",
            },
        ),
        *named(
            text,
            {
                "session_id": "langfuse.session.id",
                "user_id": "langfuse.user.id",
                "environment": "langfuse.environment",
                "release": "langfuse.release",
                "trace.name": "langfuse.trace.name",
            },
        ),
        *named(
            decoded,
            {
                "trace.input": "langfuse.trace.input",
                "trace.output": "langfuse.trace.output",
            },
        ),
    ),
)
