"""Other vendors' switches against recording content, obeyed for spans that an emitter without the switch made.

The emitters read these variables themselves; but a span in the same vocabulary can come from elsewhere (another
language, another library), and who set the switch did not want such content to be sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

_FALSE: Final = frozenset({"false", "0", "no", "off", "no_content"})
_TRUE: Final = frozenset({"true", "1", "yes", "on"})

_OTEL: Final = (
    "gen_ai.input.messages",
    "gen_ai.output.messages",
    "gen_ai.system_instructions",
    "gen_ai.tool.call.arguments",
    "gen_ai.tool.call.result",
    "gen_ai.retrieval.documents",
    "gen_ai.retrieval.query.text",
)
_TRACELOOP: Final = ("traceloop.entity.input", "traceloop.entity.output", "gen_ai.prompt.", "gen_ai.completion.")
_OPENINFERENCE: Final = {
    "OPENINFERENCE_HIDE_INPUTS": ("input.value", "llm.input_messages."),
    "OPENINFERENCE_HIDE_OUTPUTS": ("output.value", "llm.output_messages."),
    "OPENINFERENCE_HIDE_INPUT_MESSAGES": ("llm.input_messages.",),
    "OPENINFERENCE_HIDE_OUTPUT_MESSAGES": ("llm.output_messages.",),
    "OPENINFERENCE_HIDE_LLM_INVOCATION_PARAMETERS": ("llm.invocation_parameters",),
    "OPENINFERENCE_HIDE_LLM_TOOLS": ("llm.tools.",),
    "OPENINFERENCE_HIDE_LLM_PROMPTS": ("llm.prompts.", "llm.prompt_template."),
    "OPENINFERENCE_HIDE_PROMPTS": ("llm.prompts.", "llm.prompt_template."),
    "OPENINFERENCE_HIDE_CHOICES": ("llm.choices.",),
    "OPENINFERENCE_HIDE_EMBEDDINGS_TEXT": ("embedding.embeddings.",),
}


def hidden_attributes(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the beginnings of the names of attributes that the switches in `environ` forbid to read."""
    hidden: set[str] = set()
    if _value(environ, "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT") in _FALSE:
        hidden.update(_OTEL)
    if _value(environ, "TRACELOOP_TRACE_CONTENT") in _FALSE:
        hidden.update(_TRACELOOP)
    for name, attributes in _OPENINFERENCE.items():
        if _value(environ, name) in _TRUE:
            hidden.update(attributes)
    return tuple(sorted(hidden))


def _value(environ: Mapping[str, str], name: str) -> str:
    return environ.get(name, "").strip().lower()
