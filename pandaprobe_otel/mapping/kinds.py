"""Kind of a span: LLM, AGENT, TOOL, RETRIEVER, CHAIN, EMBEDDING or OTHER.

The rules apply in this order: kinds that a dialect states; operation names and similar attributes; the span's name and
scope; the evidence of its attributes. OpenTelemetry's own span kind and HTTP attributes are never used: an
LLM span of the Anthropic SDK is a CLIENT span with HTTP attributes. Usage alone proves nothing, because agents have
sums.
"""

from __future__ import annotations

import re
from typing import Final

from pandaprobe_otel.mapping.shapes import DIALECTS, Shape, shape_of
from pandaprobe_otel.mapping.span_view import SpanView
from pandaprobe_otel.mapping.values import type_of

_NAME_RULES: Final = tuple(
    rule.decide for dialect in DIALECTS for rule in dialect.kinds if not rule.attribute and rule.decide is not None
)
_SCOPES: Final = tuple(scope for dialect in DIALECTS for scope in dialect.scopes)
_MODEL_KEYS: Final = (
    "gen_ai.request.model", "gen_ai.response.model", "llm.model_name", "llm.response.model_name", "ai.model.id",
)  # fmt: skip
_INDEXED_PROMPT: Final = re.compile(r"gen_ai\.(?:prompt|completion)\.\d|llm\.input_messages\.\d")
_VECTOR_STORES: Final = frozenset(
    {"pinecone", "qdrant", "chroma", "chromadb", "weaviate", "milvus", "lancedb", "marqo", "pgvector"}
)
_MCP_METHOD: Final = "mcp.method.name"
_MCP_WORK: Final = frozenset(
    {"tools/call", "prompts/get", "resources/read", "sampling/createMessage", "elicitation/create"}
)
"""Requests of the Model Context Protocol that do work. All others connect, list and notify."""

_ANTHROPIC: Final = "com.anthropic.sdk.python"
_COUNTS_TOKENS: Final = ".count_tokens"

PLUMBING_SCOPES: Final = frozenset({"fastapi"})
"""Scopes of spans inside a web request (dependencies, endpoint, serialization) without HTTP attributes."""


def kind_of(view: SpanView) -> str:
    """Return the PandaProbe kind of the span."""
    return kind_in(shape_of(view), view)


def is_genai(view: SpanView) -> bool:
    """Return whether the span's vocabulary, scope or kind shows that it is about GenAI work."""
    if (view.scope_name == _ANTHROPIC and is_poll(view)) or (
        _MCP_METHOD in view.attributes and is_mcp_housekeeping(view)
    ):
        return False
    shape: Shape = view.shape or shape_of(view)
    return shape.genai or view.scope_name.startswith(_SCOPES) or kind_in(shape, view) != "OTHER"


def is_work(view: SpanView) -> bool:
    """Return whether attribute names alone prove that the span is about GenAI work; False proves nothing."""
    return view.shape is not None and view.shape.is_work


def is_plumbing(view: SpanView) -> bool:
    """Return whether the span is an HTTP, database, messaging or RPC span without any sign of GenAI work."""
    if is_mcp_housekeeping(view):
        return True
    return (shape_of(view).plumbing or view.scope_name in PLUMBING_SCOPES) and not (is_genai(view) or is_poll(view))


def is_poll(view: SpanView) -> bool:
    """Return whether the span is a request of Anthropic's SDK without a model: a GET, or a token count.

    It is useful next to other work, but must not be a trace of its own: apps that poll would post dozens of them.
    """
    if view.scope_name != _ANTHROPIC or "gen_ai.operation.name" in view.attributes:
        return False
    return view.attributes.get("http.request.method") == "GET" or view.name.endswith(_COUNTS_TOKENS)


def is_served_tool(view: SpanView) -> bool:
    """Return whether the span is a tool call on the side of an MCP server."""
    return view.otel_kind == "SERVER" and view.attributes.get(_MCP_METHOD) == "tools/call"


def is_tool_without_mcp(view: SpanView) -> bool:
    """Return whether the span is a tool call recorded outside MCP, by an agent framework."""
    return _MCP_METHOD not in view.attributes and kind_of(view) == "TOOL"


def is_mcp_housekeeping(view: SpanView) -> bool:
    """Return whether the span is a message of the Model Context Protocol that connects, lists or notifies."""
    method = view.attributes.get(_MCP_METHOD)
    return type_of(method) is str and method not in _MCP_WORK


REPEATED_SCOPES: Final[set[str]] = set()
"""Scopes of other vendors whose spans repeat those that our integrations make in this process."""


def is_dropped(view: SpanView) -> bool:
    """Return whether the span only repeats another one.

    Logfire announces each span with a pending copy, and makes two spans of a streamed call. AG2 repeats the tokens of
    each model call in an accounting record, although the call's span has them.
    """
    if view.scope_name in REPEATED_SCOPES:
        return True
    attributes = view.attributes
    return attributes.get("logfire.span_type") == "pending_span" or attributes.get("ag2.usage.kind") == "model_call"


def kind_in(shape: Shape, view: SpanView) -> str:
    """Return the kind of a span whose shape is known."""
    attributes = view.attributes
    for key, rule in shape.kind_rules:
        kind = rule.kind_of(attributes[key], view)
        if kind is not None:
            return kind
    for decide in _NAME_RULES:
        kind = decide(None, view)
        if kind is not None:
            return kind
    return _by_evidence(view)


def _by_evidence(view: SpanView) -> str:
    attributes = view.attributes
    if any(key.startswith(("embedding.", "gen_ai.embeddings.")) for key in attributes):
        return "EMBEDDING"
    if any(key.startswith(("gen_ai.retrieval.", "retrieval.documents.")) for key in attributes):
        return "RETRIEVER"
    if any(type_of(attributes.get(key)) is str and attributes[key] for key in _MODEL_KEYS):
        return "LLM"
    if any(_INDEXED_PROMPT.match(key) for key in attributes):
        return "LLM"
    store = attributes.get("db.system.name", attributes.get("db.system"))
    return "RETRIEVER" if type_of(store) is str and store.lower() in _VECTOR_STORES else "OTHER"
