"""`POST /chat/completions`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, Final

from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations import _parts as parts
from pandaprobe_otel_integrations._endpoint import (
    ANSWERED,
    Body,
    Endpoint,
    Fields,
    Partly,
    each,
    inside,
    one_of,
)
from pandaprobe_otel_integrations._json import Object, items, obj, objects, string, strings
from pandaprobe_otel_integrations._openai_protocol.chat_messages import (
    TEXTS,
    input_message,
    merged_chunks,
    output_messages,
    tool_definition,
)
from pandaprobe_otel_integrations._openai_protocol.usage import OPENAI, OUTPUT_TYPES, SAMPLING
from pandaprobe_otel_integrations._other_members import told
from pandaprobe_otel_integrations._streams.body import LastEvent
from pandaprobe_otel_integrations._streams.text_runs import Growth

DONE: Final = LastEvent(hint=b"[DONE]", mark=re.compile(rb"(?:^|[\n\r])data: ?\[DONE\]"))
_FORMAT: Final[Callable[[Any], str | None]] = inside("type", reader=one_of(OUTPUT_TYPES))


def _output_type(modalities: Any, response_format: Any) -> str | None:
    if "audio" in (strings(modalities) or ()):
        return "speech"
    return _FORMAT(response_format)


def _tools(tools: Any, functions: Any) -> list[parts.Part]:
    older = [{"type": "function", "function": one} for one in objects(functions)]  # before tools existed
    return [tool_definition(tool) for tool in (*objects(tools), *older)]


class ChatCompletions(Endpoint):
    """Chat completions of OpenAI and of compatible services."""

    operation = "chat"
    last_event: LastEvent | None = DONE
    service = OPENAI
    constants = {names.API_TYPE: "chat_completions"}
    request: ClassVar[Fields] = {
        **SAMPLING,
        ("modalities", "response_format"): Partly(names.OUTPUT_TYPE, _output_type),
        "reasoning_effort": (names.REASONING_LEVEL, string),
    }
    input = {
        "messages": (names.INPUT_MESSAGES, each(input_message)),
        ("tools", "functions"): (names.TOOL_DEFINITIONS, _tools),
    }
    response: ClassVar[Fields] = {
        **ANSWERED,
        "service_tier": (names.RESPONSE_SERVICE_TIER, string),
        "system_fingerprint": (names.SYSTEM_FINGERPRINT, string),
    }
    empty: ClassVar[Iterable[str]] = ("object", "created", "choices")
    growing = Growth(
        "choices", "delta", texts={**{name: {} for name in TEXTS}, "tool_calls": {"function": {"arguments": {}}}}
    )

    def choices(self, body: Body) -> list[Object]:
        """Return the choices."""
        return objects(body.get("choices"))

    def finish_reason(self, choice: Object) -> str | None:
        """Return the reason in OpenAI's words."""
        return string(choice.get("finish_reason"))

    def output_messages(self, choices: list[Object], reasons: list[str | None]) -> list[parts.Part] | None:
        """Return the message of each choice."""
        return output_messages(choices)

    def merged(self, events: Iterable[Object]) -> Body:
        """Return the chunks as one completion."""
        whole = merged_chunks(events)
        return _without_groq(whole) if "x_groq" in whole else whole

    def is_output(self, event: Object) -> bool:
        """Return whether the chunk has a choice. Azure sends content filter results before the first one."""
        return bool(objects(event.get("choices")))


def _without_groq(body: dict[str, Any]) -> Body:
    """Return an answer with the usage that Groq's streams keep in a member of their own."""
    own = {**obj(body["x_groq"])}
    usage = own.pop("usage", None)
    return {"usage": usage, **body, "x_groq": own}


# -- `POST /completions`: text in and text out. This API is older than messages ----------------------------------------


def token_texts(given: Any) -> list[parts.Part]:
    """Return one or several texts. Token ids are replaced by their number."""
    several = [given] if isinstance(given, str) or _is_tokens(given) else items(given)
    return [parts.text(f"[{len(items(one))} token ids]") if _is_tokens(one) else _given(one) for one in several]


def _is_tokens(value: Any) -> bool:
    return any(isinstance(one, int) for one in items(value)[:1])


def _given(one: Any) -> parts.Part:
    return parts.text(one) if isinstance(one, str) else told(one)


def _prompts(prompt: Any) -> list[parts.Part]:
    return [{"role": "user", "parts": [text]} for text in token_texts(prompt)]


class Completions(ChatCompletions):
    """Legacy completions. Answer and stream have the form of chat completions, with `text` in place of the message."""

    operation = "text_completion"
    constants = {}
    request = SAMPLING
    input = {"prompt": (names.INPUT_MESSAGES, _prompts)}
