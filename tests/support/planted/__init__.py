"""Calls of every provider with a mark in each place that can contain content; the trace must contain each mark."""

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
