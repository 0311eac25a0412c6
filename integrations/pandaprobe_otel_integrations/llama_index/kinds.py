"""The kind of a span of LlamaIndex's dispatcher, from its class and method name.

LlamaIndex is not imported: a class is recognised by the names of its bases.
"""

from __future__ import annotations

from typing import Any, Final, Literal

Kind = Literal["AGENT", "CHAIN", "LLM", "TOOL", "RETRIEVER", "EMBEDDING"]

_OF_LLAMA_INDEX: Final = ("llama_index.", "workflows")
_CALLS: Final[tuple[tuple[str, frozenset[str], Kind], ...]] = (
    ("BaseWorkflowAgent", frozenset({"run"}), "AGENT"),
    ("AgentWorkflow", frozenset({"run"}), "AGENT"),
    ("Workflow", frozenset({"run"}), "CHAIN"),
    (
        "BaseLLM",
        frozenset(
            {"chat", "achat", "stream_chat", "astream_chat", "complete", "acomplete", "stream_complete",
             "astream_complete"}
        ),
        "LLM",
    ),
    ("BaseTool", frozenset({"call", "acall", "__call__"}), "TOOL"),
    ("BaseRetriever", frozenset({"retrieve", "aretrieve"}), "RETRIEVER"),
    (
        "BaseEmbedding",
        frozenset(
            {"get_query_embedding", "aget_query_embedding", "get_text_embedding", "aget_text_embedding",
             "get_text_embedding_batch", "aget_text_embedding_batch"}
        ),
        "EMBEDDING",
    ),
    ("BaseQueryEngine", frozenset({"query", "aquery"}), "CHAIN"),
    ("BaseChatEngine", frozenset({"chat", "achat", "stream_chat", "astream_chat"}), "CHAIN"),
    ("BaseSynthesizer", frozenset({"synthesize", "asynthesize"}), "CHAIN"),
    # The public methods only call these, for which LlamaIndex makes spans.
    ("BaseNodePostprocessor", frozenset({"_postprocess_nodes", "_apostprocess_nodes"}), "RETRIEVER"),
)  # fmt: skip


_METHODS: Final = frozenset(name for _, methods, _ in _CALLS for name in methods)


def kind_of(instance: Any, method: str) -> Kind | None:
    """Return the kind; None for internals of the framework."""
    if instance is None or method not in _METHODS:
        return None
    bases = {base.__name__ for base in instance.__class__.__mro__ if base.__module__.startswith(_OF_LLAMA_INDEX)}
    return next((kind for base, methods, kind in _CALLS if base in bases and method in methods), None)


def is_team(instance: Any) -> bool:
    """Return whether this runs several agents."""
    return any(base.__name__ == "AgentWorkflow" for base in instance.__class__.__mro__)
