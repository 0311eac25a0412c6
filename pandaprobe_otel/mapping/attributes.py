"""Names of the span attributes that this library writes itself.

A name from OpenTelemetry's semantic conventions is used if there is one, so that every other backend can read it; the
`pandaprobe.` names cover the rest. The values are plain text, because decorators, which library authors ship, import
this module: it must cost nothing.
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
"""Module and qualified name of the decorated function."""

# PandaProbe's own.
KIND: Final = "pandaprobe.span.kind"
"""One of AGENT, TOOL, LLM, RETRIEVER, CHAIN, EMBEDDING, OTHER; overrides all other evidence of a span's kind."""
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
"""Integer: time of the first token, in nanoseconds since the epoch."""
ERROR: Final = "pandaprobe.error"
"""Text of an error set by hand (`span.set_error`)."""
OUTCOME: Final = "pandaprobe.outcome"
"""Outcome of work that neither succeeded nor failed: one of the four below. The span's status stays UNSET."""
CANCELLED: Final = "cancelled"
"""Work stopped from outside, such as a cancelled task or a run that its user stopped."""
TIMED_OUT: Final = "timed_out"
"""Work given up because it took too long, without an exception that reports it."""
INTERRUPTED: Final = "interrupted"
"""Work stopped to be resumed later: it waits for a person or an event."""
PARTIAL: Final = "partial"
"""Stream that its reader left before the end; its output until then is recorded."""
REPLAY: Final = "pandaprobe.replay"
"""JSON object with the parts of a model call that a replay needs and other attributes lack."""
FORKED_FROM: Final = "pandaprobe.forked_from"
"""Id of the trace that was forked."""
TRACE_NAME: Final = "pandaprobe.trace.name"
TRACE_INPUT: Final = "pandaprobe.trace.input"
TRACE_OUTPUT: Final = "pandaprobe.trace.output"
TRACE_STATUS: Final = "pandaprobe.trace.status"
ENVIRONMENT: Final = "pandaprobe.environment"
RELEASE: Final = "pandaprobe.release"
