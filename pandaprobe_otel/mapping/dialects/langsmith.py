"""LangSmith's OpenTelemetry export (0.15): unindexed `gen_ai.prompt` and `gen_ai.completion`, one document each."""

from __future__ import annotations

from typing import Any, Final

from pandaprobe_otel.mapping.dialect_table import Dialect, KindRule, Row, named, other_kind
from pandaprobe_otel.mapping.parameters import simple
from pandaprobe_otel.mapping.usage import encoded_counts
from pandaprobe_otel.mapping.values import comma_separated, decoded, flat, mapping, text, type_of

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
    cost = (mapping(value) or {}).get("total_cost")
    return True if type_of(cost) in (int, float) and cost == 0 else None


def _metadata(tree: Any) -> dict[str, Any]:
    """Return the run's metadata without the environment variables that LangSmith copies into it."""
    return {
        key: item
        for key, item in flat(tree).items()
        if not key.isupper() and not key.startswith(_ENVIRONMENT) and key != "usage_metadata"
    }


DIALECT: Final = Dialect(
    name="langsmith",
    title="LangSmith",
    namespaces=("langsmith.span.", "langsmith.trace."),
    scopes=("langsmith",),
    kinds=(KindRule("langsmith.span.kind", _KINDS, states=True),),
    rows=(
        Row("metadata.span_kind", "langsmith.span.kind", other_kind, "only if PandaProbe has no such kind"),
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
