"""Calls of every provider with a mark at each place that can hold content; each mark must come out in the trace."""

from . import (
    anthropic_messages,
    bedrock,
    bedrock_conversations,
    coheres,
    google,
    openai_protocol,
    openai_responses,
    openai_speakers,
    others,
    rarer_calls,
    refusals,
    sockets,
)

__all__ = [
    "anthropic_messages",
    "bedrock",
    "bedrock_conversations",
    "coheres",
    "google",
    "openai_protocol",
    "openai_responses",
    "openai_speakers",
    "others",
    "rarer_calls",
    "refusals",
    "sockets",
]
