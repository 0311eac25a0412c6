"""One LLM span per model call: a key in the OpenTelemetry context says that the span is already there.

A framework's instrumentation that opens an LLM span runs the model call inside `with_llm_span(span)`; the
provider client's instrumentation below it asks `llm_span()` and stays silent.
"""

from __future__ import annotations

from typing import Final

from opentelemetry.context import Context, get_value, set_value
from opentelemetry.instrumentation.utils import is_instrumentation_enabled
from opentelemetry.trace import Span, set_span_in_context

LLM_SPAN_KEY: Final = "pandaprobe-llm-span"
"""Context key of the LLM span in progress. Its value is the Span; None means that there is none."""

_SUPPRESS_LLM_KEY: Final = "suppress_language_model_instrumentation"
"""Set by OpenLLMetry around a framework's model call; its spans are that framework's."""


def llm_span(context: Context | None = None) -> Span | None:
    """The LLM span in progress in `context` (default: the current one), or None."""
    value = get_value(LLM_SPAN_KEY, context)
    return value if isinstance(value, Span) else None


def with_llm_span(span: Span, context: Context | None = None, *, current: bool = True) -> Context:
    """A context in which `span` is the LLM span in progress, and (with `current`) the parent of new spans."""
    marked = set_value(LLM_SPAN_KEY, span, context)
    return set_span_in_context(span, marked) if current else marked


def without_llm_span(context: Context | None = None) -> Context:
    """A context with no LLM span in progress: for a tool or an agent that runs inside a model call."""
    return set_value(LLM_SPAN_KEY, None, context)


def is_taken(context: Context) -> bool:
    """Whether somebody else already records the model call that starts in `context` (the current one)."""
    if llm_span(context) is not None or get_value(_SUPPRESS_LLM_KEY, context):
        return True
    return not is_instrumentation_enabled()
