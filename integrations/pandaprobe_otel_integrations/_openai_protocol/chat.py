"""`POST /chat/completions`."""

from __future__ import annotations

import re
from collections.abc import Set
from typing import Any, Final

from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations import _parts as parts
from pandaprobe_otel_integrations._endpoint import Answer, Attributes, Body, Failure, Readings, read
from pandaprobe_otel_integrations._json import Content, Object, items, obj, objects, string, strings
from pandaprobe_otel_integrations._logprobs import with_logprobs
from pandaprobe_otel_integrations._openai_protocol.chat_messages import (
    growing_text,
    input_message,
    merged_chunks,
    output_messages,
    tool_definition,
)
from pandaprobe_otel_integrations._openai_protocol.usage import (
    COUNTED,
    LIMITS,
    SAMPLING,
    failure_in,
    sampling_attributes,
    usage_attributes,
)
from pandaprobe_otel_integrations._other_members import beside, names_of, parameters
from pandaprobe_otel_integrations._streams.body import LastEvent
from pandaprobe_otel_integrations._streams.sse import Event, Events
from pandaprobe_otel_integrations._streams.text_runs import Place

DONE: Final = LastEvent(hint=b"[DONE]", mark=re.compile(rb"(?:^|[\n\r])data: ?\[DONE\]"))
ENVELOPE: Final = ("id", "model", "object", "created", "error")
"""Members of every answer that are attributes or carry no information."""
_OUTPUT_TYPES: Final = {"text": "text", "json_object": "json", "json_schema": "json"}


class ChatCompletions:
    """Chat completions of OpenAI and of compatible services."""

    operation = "chat"
    last_event: LastEvent | None = DONE
    read: Set[str] = names_of(SAMPLING, LIMITS, ("messages", "tools", "functions", "reasoning_effort"))
    """Members of a request that are recorded in attributes or messages."""
    answered: Set[str] = names_of(ENVELOPE, ("choices", "usage", "service_tier", "system_fingerprint"))
    """Members of an answer that are recorded in attributes or messages, or that carry no information."""

    def request_attributes(self, body: Body) -> Attributes:
        """Return model and parameters."""
        attributes = sampling_attributes(body, _PARAMETERS)
        if "audio" in (strings(body.get("modalities")) or ()):
            attributes[names.OUTPUT_TYPE] = "speech"
        attributes[names.API_TYPE] = "chat_completions"
        return attributes

    def request_content(self, body: Body) -> Content:
        """Return messages, tools and (before tools existed) functions."""
        found: Content = {names.INPUT_MESSAGES: [input_message(message) for message in objects(body.get("messages"))]}
        if "tools" in body or "functions" in body:
            functions = [{"type": "function", "function": one} for one in objects(body.get("functions"))]
            definitions = [tool_definition(tool) for tool in (*objects(body.get("tools")), *functions)]
            found = {**found, names.TOOL_DEFINITIONS: definitions}
        return {**found, **parameters(body, self.read)} if body.keys() - self.read else found

    def answer(self, body: Body, *, with_content: bool) -> Answer:
        """Return every choice, its finish reason, and the usage, which Groq's streams keep in a separate member."""
        if "x_groq" in body:
            body = _without_groq(body)
        choices = objects(body.get("choices"))
        if len(choices) > 1:
            choices.sort(key=_index)
        attributes = read(body, _ANSWERED)
        if reasons := strings([choice.get("finish_reason") for choice in choices]):
            attributes[names.FINISH_REASONS] = reasons
        attributes.update(usage_attributes(body.get("usage")))
        content: Content = {}
        if with_content:
            more = with_logprobs(beside(body, self.answered, COUNTED), choices)
            content = {names.OUTPUT_MESSAGES: output_messages(choices), **more}
        return Answer(attributes=attributes, content=content, failure=_failure(body) if "error" in body else None)

    def merged(self, events: Events) -> Body:
        """Return the chunks as one completion."""
        return merged_chunks(event.data for event in events.items)

    def is_output(self, event: Event) -> bool:
        """Return whether the event is the first chunk with a choice. Azure sends content filter results before it."""
        return bool(objects(obj(event.data).get("choices")))

    def growing(self, event: Event) -> Place | None:
        """Return the text of a delta."""
        return growing_text(obj(event.data))


def _without_groq(body: Body) -> Body:
    own = {**obj(body["x_groq"])}
    usage = own.pop("usage", None)
    return {**body, "usage": body.get("usage") or usage, "x_groq": own}


def _output_type(response_format: Any) -> str | None:
    return _OUTPUT_TYPES.get(string(obj(response_format).get("type")) or "")


_PARAMETERS: Final[Readings] = {
    **SAMPLING,
    "response_format": (names.OUTPUT_TYPE, _output_type),
    "reasoning_effort": (names.REASONING_LEVEL, string),
}
_ANSWERED: Final[Readings] = {
    "id": (names.RESPONSE_ID, string),
    "model": (names.RESPONSE_MODEL, string),
    "service_tier": (names.RESPONSE_SERVICE_TIER, string),
    "system_fingerprint": (names.SYSTEM_FINGERPRINT, string),
}


def _index(choice: Object) -> int:
    index: Any = choice.get("index")
    return index if isinstance(index, int) else 0


def _failure(body: Body) -> Failure | None:
    return failure_in(body.get("error"))


# -- `POST /completions`: text in and text out. This API is older than messages ----------------------------------------


class Completions(ChatCompletions):
    """Legacy completions. Answer and stream have the form of chat completions, with `text` in place of the message."""

    operation = "text_completion"
    read: Set[str] = names_of(SAMPLING, LIMITS, ("prompt",))

    def request_attributes(self, body: Body) -> Attributes:
        """Return model and parameters."""
        return sampling_attributes(body)

    def request_content(self, body: Body) -> Content:
        """Return one or several prompts. Token ids are replaced by their number."""
        prompt = body.get("prompt")
        prompts = [prompt] if isinstance(prompt, str) or _is_tokens(prompt) else items(prompt)
        messages = [{"role": "user", "parts": [parts.text(_text(one))]} for one in prompts]
        return {names.INPUT_MESSAGES: messages, **parameters(body, self.read)}


def _is_tokens(prompt: Any) -> bool:
    return any(isinstance(item, int) for item in items(prompt)[:1])


def _text(prompt: Any) -> str:
    return prompt if isinstance(prompt, str) else f"[{len(items(prompt))} token ids]"
