"""Vocabularies of the SDKs of platforms: Langfuse, LangSmith, MLflow."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from pandaprobe_otel.mapping import parameters
from pandaprobe_otel.mapping.dialect_table import Dialect, KindRule, Row, named
from pandaprobe_otel.mapping.dialects.otel_genai import provider
from pandaprobe_otel.mapping.parameters import simple
from pandaprobe_otel.mapping.span_view import SpanView
from pandaprobe_otel.mapping.usage import amounts, counts_from, encoded_counts
from pandaprobe_otel.mapping.values import (
    comma_separated,
    decoded,
    flat,
    inside,
    mapping,
    scalar,
    structure,
    text,
    texts,
    type_of,
    unquoted,
    usable,
)

# -- Langfuse's SDK (5.0): each of its values is JSON text or plain text, and its usage buckets do not overlap ---------

_LANGFUSE_TYPES: Final = {
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


def _langfuse_kind(value: Any, view: SpanView) -> str | None:
    name = unquoted(value)
    if name is None:
        return None
    if name.lower() == "span":  # SDKs up to 3.3 wrote generations as spans
        asked = any(
            key.startswith(("langfuse.observation.model", "langfuse.observation.usage")) for key in view.attributes
        )
        return "LLM" if asked else None
    return _LANGFUSE_TYPES.get(name.lower())


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


LANGFUSE: Final = Dialect(
    name="langfuse",
    title="Langfuse SDK",
    namespaces=("langfuse.observation.", "langfuse.trace.input", "langfuse.trace.output"),
    kinds=(
        KindRule(
            "langfuse.observation.type",
            _LANGFUSE_TYPES,
            decide=_langfuse_kind,
            states=True,
            note="`span` with a model or usage is an LLM span (SDK <= 3.3), a plain `span` has no kind",
        ),
    ),
    rows=(
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


# -- LangSmith: unindexed `gen_ai.prompt` and `gen_ai.completion` with one document each ------------------------------

_KINDS: Final = {
    "llm": "LLM", "chain": "CHAIN", "tool": "TOOL", "retriever": "RETRIEVER", "embedding": "EMBEDDING",
    "prompt": "CHAIN", "parser": "CHAIN",
}  # fmt: skip
_ENVIRONMENT: Final = ("LANGSMITH_", "LANGCHAIN_")


def _document(value: Any) -> Any:
    """Return the document, or the plain result that LangSmith wraps as `{"output": ...}`."""
    document = decoded(value)
    if type_of(document) is dict and len(document) == 1 and "output" in document:
        return document["output"]
    return value


def _cached(value: Any) -> bool | None:
    """Return whether LangChain's cache gave the answer; it then sets the cost to 0, which it never computes itself."""
    cost = inside(value).get("total_cost")
    return True if type_of(cost) in (int, float) and cost == 0 else None


def _metadata(tree: Any) -> dict[str, Any]:
    """Return the run's metadata without the environment variables that LangSmith copies into it."""
    return {
        key: item
        for key, item in flat(tree).items()
        if not key.isupper() and not key.startswith(_ENVIRONMENT) and key != "usage_metadata"
    }


LANGSMITH: Final = Dialect(
    name="langsmith",
    title="LangSmith",
    namespaces=("langsmith.span.", "langsmith.trace."),
    scopes=("langsmith",),
    kinds=(KindRule("langsmith.span.kind", _KINDS, states=True),),
    rows=(
        Row("input", "gen_ai.prompt", None, late=True),
        Row("output", "gen_ai.completion", _document, late=True),
        Row("usage.bag", "langsmith.metadata.usage_metadata", encoded_counts),
        Row("cached", "langsmith.metadata.usage_metadata", _cached, "a cost of 0: LangChain's cache"),
        Row("session_id", "langsmith.metadata.session_id", text),
        Row("session_id", "langsmith.metadata.thread_id", text, late=True),
        Row("root_tags", "langsmith.span.tags", comma_separated, "of the root only"),
        Row("metadata", "langsmith.metadata.*", _metadata, "without environment variables"),
        Row("metadata.cached", "langsmith.metadata.usage_metadata", _cached),
        Row("parameters.stop_sequences", "langsmith.metadata.ls_stop", decoded),
        Row("user_id", "langsmith.metadata.user_id", text),
        Row("metadata.tags", "langsmith.span.tags", comma_separated),
        *named(
            simple,
            {
                "parameters.temperature": "langsmith.metadata.ls_temperature",
                "parameters.max_tokens": "langsmith.metadata.ls_max_tokens",
            },
        ),
    ),
    note="`langsmith.trace.session_name` is not read: it is the project, not a session.",
)


# -- MLflow (3.17): every value is JSON text, even scalars -------------------------------------------------------------

_MLFLOW_TYPES: Final = {
    "LLM": "LLM", "CHAT_MODEL": "LLM", "AGENT": "AGENT", "TOOL": "TOOL", "RETRIEVER": "RETRIEVER",
    "RERANKER": "RETRIEVER", "EMBEDDING": "EMBEDDING", "CHAIN": "CHAIN", "WORKFLOW": "CHAIN", "TASK": "CHAIN",
}  # fmt: skip


def _mlflow_kind(value: Any, _: SpanView) -> str | None:
    name = unquoted(value)
    return None if name is None else _MLFLOW_TYPES.get(name.upper(), "OTHER")


def _provider(value: Any) -> str | None:
    return provider(unquoted(value))


MLFLOW: Final = Dialect(
    name="mlflow",
    title="MLflow",
    namespaces=("mlflow.spanType", "mlflow.spanInputs", "mlflow.spanOutputs", "mlflow.chat.", "mlflow.llm."),
    scopes=("mlflow.tracing",),
    kinds=(KindRule("mlflow.spanType", _MLFLOW_TYPES, decide=_mlflow_kind, note="others are OTHER"),),
    rows=(
        *named(scalar, {"input": "mlflow.spanInputs", "output": "mlflow.spanOutputs"}, late=True),
        Row("cost", "mlflow.llm.cost", amounts, "the suffix `_cost` is cut"),
        Row("metadata.provider", "mlflow.llm.provider", _provider),
        Row("usage.bag", "mlflow.chat.tokenUsage", encoded_counts),
        Row("metadata.tools", "mlflow.chat.tools", structure),
        *named(
            unquoted,
            {
                "model": "mlflow.llm.model",
                "session_id": "mlflow.trace.session",
                "user_id": "mlflow.trace.user",
                "metadata.mlflow_request_id": "mlflow.traceRequestId",
            },
        ),
    ),
)
