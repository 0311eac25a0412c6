"""Kinds of spans in the PandaProbe API, where they are case sensitive."""

from __future__ import annotations

from typing import Any, Final

KINDS: Final = frozenset({"AGENT", "TOOL", "LLM", "RETRIEVER", "CHAIN", "EMBEDDING", "OTHER"})
MODEL_KINDS: Final = frozenset({"LLM", "EMBEDDING", "RETRIEVER"})
"""Kinds whose spans get `model`. The server's list of top models counts every span with a model."""
TALKING_KINDS: Final = frozenset({"LLM", "AGENT", "CHAIN"})
"""Kinds whose input and output can be the conversation of the whole trace."""


def other_kind(value: Any) -> str | None:
    """Return an emitter's name for a span kind if PandaProbe has no such kind: GUARDRAIL, parser, workflow."""
    word = value.strip().strip('"') if isinstance(value, str) else ""
    return word if word and word.upper() not in KINDS | {"SPAN", "GENERATION", "CHAT_MODEL", "UNKNOWN"} else None
