"""Other vendors' switches against recording content, applied to spans whose emitters ignore them.

Emitters read these variables themselves. But a span in the same vocabulary can come from another language or library,
and a user who set the switch did not want such content to be sent. An unknown value of a switch hides content: it is
safer to send too little.

Two switches hide all content, in every vocabulary. The others hide only the attributes that they name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

_FALSE: Final = ("false", "0", "no", "off")
_TRUE: Final = ("true", "1", "yes", "on")


@dataclass(frozen=True, slots=True, kw_only=True)
class Switch:
    """Variable with the words that hide or show content (in lower case), and the attributes to hide."""

    name: str
    hiding: tuple[str, ...]
    showing: tuple[str, ...]
    attributes: tuple[str, ...]
    """Name prefixes of the attributes to hide."""
    in_calls: tuple[str, ...] = ()
    """Name prefixes of attributes to hide only in model calls, where they repeat the messages."""
    is_general: bool = False
    """True if the switch applies to all content."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hidden:
    """Attributes that the switches of an environment hide, and problems with their values."""

    attributes: tuple[str, ...] = ()
    in_calls: tuple[str, ...] = ()
    content: bool = False
    """True if all content is hidden, including that of other vocabularies."""
    problems: tuple[str, ...] = ()


_OTEL: Final = (
    "gen_ai.input.messages", "gen_ai.output.messages", "gen_ai.system_instructions", "gen_ai.tool.call.arguments",
    "gen_ai.tool.call.result", "gen_ai.retrieval.documents", "gen_ai.retrieval.query.text",
)  # fmt: skip
_TRACELOOP: Final = ("traceloop.entity.input", "traceloop.entity.output", "gen_ai.prompt.", "gen_ai.completion.")


def _hide(name: str, *attributes: str, in_calls: tuple[str, ...] = ()) -> Switch:
    return Switch(name=name, hiding=_TRUE, showing=_FALSE, attributes=attributes, in_calls=in_calls)


SWITCHES: Final = (
    Switch(
        name="OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT",
        hiding=("no_content", *_FALSE),
        showing=("span_only", "event_only", "span_and_event", *_TRUE),
        attributes=_OTEL,
        is_general=True,
    ),
    # From version 0.60 on, OpenLLMetry writes the attributes of the conventions.
    Switch(
        name="TRACELOOP_TRACE_CONTENT", hiding=_FALSE, showing=_TRUE, attributes=(*_TRACELOOP, *_OTEL), is_general=True
    ),
    _hide("OPENINFERENCE_HIDE_INPUTS", "input.value", "llm.input_messages."),
    _hide("OPENINFERENCE_HIDE_OUTPUTS", "output.value", "llm.output_messages."),
    _hide("OPENINFERENCE_HIDE_INPUT_MESSAGES", "llm.input_messages.", in_calls=("input.value",)),
    _hide("OPENINFERENCE_HIDE_OUTPUT_MESSAGES", "llm.output_messages.", in_calls=("output.value",)),
    _hide("OPENINFERENCE_HIDE_INPUT_TEXT", "llm.input_messages.", in_calls=("input.value",)),
    _hide("OPENINFERENCE_HIDE_OUTPUT_TEXT", "llm.output_messages.", in_calls=("output.value",)),
    _hide("OPENINFERENCE_HIDE_LLM_INVOCATION_PARAMETERS", "llm.invocation_parameters"),
    _hide("OPENINFERENCE_HIDE_LLM_TOOLS", "llm.tools."),
    _hide("OPENINFERENCE_HIDE_LLM_PROMPTS", "llm.prompts.", "llm.prompt_template."),
    _hide("OPENINFERENCE_HIDE_PROMPTS", "llm.prompts.", "llm.prompt_template."),
    _hide("OPENINFERENCE_HIDE_CHOICES", "llm.choices."),
    _hide("OPENINFERENCE_HIDE_EMBEDDINGS_TEXT", "embedding.embeddings."),
)


def hidden_by(environ: Mapping[str, str]) -> Hidden:
    """Return the attributes that the switches in `environ` hide."""
    attributes: set[str] = set()
    in_calls: set[str] = set()
    content = False
    problems: list[str] = []
    for switch in SWITCHES:
        value = environ.get(switch.name, "").strip().lower()
        if not value or value in switch.showing:
            continue
        attributes.update(switch.attributes)
        in_calls.update(switch.in_calls)
        content |= switch.is_general
        if value not in switch.hiding:
            words = ", ".join((*switch.showing, *switch.hiding))
            problems.append(f"{switch.name} = {value[:40]!r} is not one of {words}; content it may hide is not sent.")
    return Hidden(
        attributes=tuple(sorted(attributes)),
        in_calls=tuple(sorted(in_calls)),
        content=content,
        problems=tuple(problems),
    )
