"""The kinds of a span on the PandaProbe API; case sensitive there."""

from __future__ import annotations

from typing import Any, Final

KINDS: Final = frozenset({"AGENT", "TOOL", "LLM", "RETRIEVER", "CHAIN", "EMBEDDING", "OTHER"})
MODEL_KINDS: Final = frozenset({"LLM", "EMBEDDING", "RETRIEVER"})
"""Kinds whose spans carry `model`: the server's list of top models counts every span that has one."""
TALKING_KINDS: Final = frozenset({"LLM", "AGENT", "CHAIN"})
"""Kinds whose input and output can be a conversation that stands for the whole trace."""


def other_kind(value: Any) -> str | None:
    """An emitter's word for the kind of a span, if it is none of PandaProbe's: GUARDRAIL, parser, workflow."""
    word = value.strip().strip('"') if isinstance(value, str) else ""
    return word if word and word.upper() not in KINDS | {"SPAN", "GENERATION", "CHAT_MODEL", "UNKNOWN"} else None
