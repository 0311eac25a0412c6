"""Names of the span attributes that this library writes itself.

Where OpenTelemetry's semantic conventions have a name, it is theirs, so that every other backend reads it too;
the `pandaprobe.` names exist for what the conventions do not cover. They are written here as plain text because
this module is imported by the decorators, which library authors ship: it must cost nothing.
"""

from __future__ import annotations

from typing import Final

# OpenTelemetry semantic conventions.
OPERATION_NAME: Final = "gen_ai.operation.name"
AGENT_NAME: Final = "gen_ai.agent.name"
TOOL_NAME: Final = "gen_ai.tool.name"
REQUEST_MODEL: Final = "gen_ai.request.model"
USAGE_INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
USAGE_OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
SESSION_ID: Final = "session.id"
USER_ID: Final = "user.id"
ERROR_TYPE: Final = "error.type"
FUNCTION_NAME: Final = "code.function.name"
"""Module and qualified name of the function that a span is around."""

# PandaProbe's own.
KIND: Final = "pandaprobe.span.kind"
"""One of AGENT, TOOL, LLM, RETRIEVER, CHAIN, EMBEDDING, OTHER: it beats every other evidence of a span's kind."""
INPUT: Final = "pandaprobe.input"
"""JSON text of the span's input."""
OUTPUT: Final = "pandaprobe.output"
"""JSON text of the span's output."""
TAGS: Final = "pandaprobe.tags"
"""Sequence of text: tags of the trace."""
METADATA: Final = "pandaprobe.metadata"
"""JSON text of an object: metadata of the trace."""
SPAN_METADATA: Final = "pandaprobe.span.metadata"
"""JSON text of an object: metadata of this span."""
MODEL: Final = "pandaprobe.model"
MODEL_PARAMETERS: Final = "pandaprobe.model_parameters"
"""JSON text of an object."""
TOKEN_USAGE: Final = "pandaprobe.token_usage"
"""JSON text of an object with prompt_tokens, completion_tokens and the like (plain integers)."""
COST: Final = "pandaprobe.cost"
"""JSON text of an object with `total` in US dollars."""
COMPLETION_START_TIME: Final = "pandaprobe.completion_start_time_unix_nano"
"""Integer: when the first token arrived, nanoseconds since the epoch."""
ERROR: Final = "pandaprobe.error"
"""Text of an error set by hand (`span.set_error`)."""
OUTCOME: Final = "pandaprobe.outcome"
"""How the work of a span ended where it neither succeeded nor failed: one of the four below. Its status stays unset."""
CANCELLED: Final = "cancelled"
"""Stopped from outside: a task that was cancelled, a run that its user stopped."""
TIMED_OUT: Final = "timed_out"
"""Given up since it took too long, where nothing raised an error that tells of it."""
INTERRUPTED: Final = "interrupted"
"""Stopped to be resumed: it waits for a person or an event."""
PARTIAL: Final = "partial"
"""A stream that its reader left before the end: what it gave until then is recorded."""
REPLAY: Final = "pandaprobe.replay"
"""JSON text of an object: what the call of a model is rebuilt from, beside what other attributes tell of it."""
FORKED_FROM: Final = "pandaprobe.forked_from"
"""The id of the trace that this one is a fork of."""
TRACE_NAME: Final = "pandaprobe.trace.name"
TRACE_INPUT: Final = "pandaprobe.trace.input"
TRACE_OUTPUT: Final = "pandaprobe.trace.output"
TRACE_STATUS: Final = "pandaprobe.trace.status"
ENVIRONMENT: Final = "pandaprobe.environment"
RELEASE: Final = "pandaprobe.release"
