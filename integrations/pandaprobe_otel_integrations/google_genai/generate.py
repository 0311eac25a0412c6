"""`generateContent` and `streamGenerateContent`, of the Gemini API and of Vertex AI."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Set
from typing import Any, Final

from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations._content import Content
from pandaprobe_otel_integrations._endpoint import Answer, Attributes, Body, Failure
from pandaprobe_otel_integrations._json_attributes import Readings, more_than_one, read, true
from pandaprobe_otel_integrations._logprobs import with_logprobs
from pandaprobe_otel_integrations._other_members import Counts, beside, names_of, parameters
from pandaprobe_otel_integrations._shape import Object, integer, number, obj, objects, string, strings
from pandaprobe_otel_integrations._streams.body import LastEvent
from pandaprobe_otel_integrations._streams.sse import Event, Events
from pandaprobe_otel_integrations._streams.text_runs import Place

from .contents import (
    growing_text,
    in_python,
    input_messages,
    member,
    merged_candidates,
    output_messages,
    system_parts,
    tool_definitions,
)

# The client raises at an error in a stream, and its exception keeps the response alive.
_ERROR: Final = LastEvent(hint=b'"error"', mark=re.compile(rb'(?:^|[\n\r])data: \{"error":'))
FINISH_REASONS: Final = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    **dict.fromkeys(
        ("SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "IMAGE_SAFETY", "IMAGE_RECITATION"),
        "content_filter",
    ),
}
"""Gemini's reasons in the conventions' words; all others stay, in lower case."""


class GenerateContent:
    """A call of a Gemini model.

    `model` and `stream` are members of the body here; in the request, they are in the URL.
    """

    operation = "generate_content"
    last_event: LastEvent | None = _ERROR

    def request_attributes(self, body: Body) -> Attributes:
        """Return model and parameters."""
        attributes = read(body, _CALLED)
        if "generationConfig" in body:
            attributes.update(read(obj(body["generationConfig"]), _PARAMETERS))
        return attributes

    def request_content(self, body: Body) -> Content:
        """Return contents, system instruction and tools."""
        found: Content = {names.INPUT_MESSAGES: input_messages(body.get("contents"))}
        if "systemInstruction" in body:
            found = {names.SYSTEM_INSTRUCTIONS: system_parts(body["systemInstruction"]), **found}
        if "tools" in body:
            found = {**found, names.TOOL_DEFINITIONS: tool_definitions(body["tools"])}
        return {**found, **parameters_in(body, _BODY, ("generationConfig", _CONFIG))}

    def answer(self, body: Body, *, with_content: bool) -> Answer:
        """Return every candidate, its finish reason, and the usage."""
        candidates = objects(body.get("candidates"))
        reasons = [*map(_reason, candidates)]
        known = [*filter(None, reasons)]
        if not known and string(obj(body.get("promptFeedback")).get("blockReason")) is not None:
            known = ["content_filter"]
        attributes = read(body, _ANSWERED)
        if known:
            attributes[names.FINISH_REASONS] = known
        attributes.update(usage_attributes(obj(body.get("usageMetadata"))))
        content: Content = {}
        if with_content:
            more = beside(body, _ANSWER, COUNTED, "usageMetadata")
            more = with_logprobs(more, candidates, "logprobsResult")
            content = {names.OUTPUT_MESSAGES: output_messages(candidates, reasons), **more}
        return Answer(
            attributes=attributes,
            content=content,
            failure=failure_in(body["error"]) if "error" in body else None,
        )

    def merged(self, events: Events) -> Body:
        """Return the chunks as one answer. Counts are cumulative: the last ones are the sums."""
        merged: dict[str, Any] = {}

        def chunks() -> Iterator[Object]:
            for event in events.items:
                chunk = obj(event.data)
                merged.update((key, value) for key, value in chunk.items() if value and key != "candidates")
                yield chunk

        candidates = merged_candidates(chunks())
        return {**merged, "candidates": candidates}

    def is_output(self, event: Event) -> bool:
        """Return whether the event is the first chunk with a candidate."""
        return bool(objects(obj(event.data).get("candidates")))

    def growing(self, event: Event) -> Place | None:
        """Return the text of a chunk."""
        return growing_text(obj(event.data))


def _reason(candidate: Object) -> str | None:
    given = string(candidate.get("finishReason"))
    if given is None:
        return None
    if given == "STOP":
        for piece in objects(obj(candidate.get("content")).get("parts")):
            if piece.get("functionCall"):
                return "tool_call"
    return FINISH_REASONS.get(given) or given.lower()


def _level(thinking: Any) -> str | None:
    return (string(member(obj(thinking), "thinkingLevel")) or "").lower() or None


def _json(mime_type: Any) -> str | None:
    return "json" if mime_type == "application/json" else None


_CALLED: Final[Readings] = {"model": (names.REQUEST_MODEL, string), "stream": (names.STREAM, true)}
_PARAMETERS: Final[Readings] = {
    "temperature": (names.TEMPERATURE, number),
    "topP": (names.TOP_P, number),
    "topK": (names.TOP_K, number),
    "maxOutputTokens": (names.MAX_TOKENS, integer),
    "frequencyPenalty": (names.FREQUENCY_PENALTY, number),
    "presencePenalty": (names.PRESENCE_PENALTY, number),
    "seed": (names.SEED, integer),
    "stopSequences": (names.STOP_SEQUENCES, strings),
    "candidateCount": (names.CHOICE_COUNT, more_than_one),
    "thinkingConfig": (names.REASONING_LEVEL, _level),
    "responseMimeType": (names.OUTPUT_TYPE, _json),
}
_BODY: Final = names_of(_CALLED, ("contents", "systemInstruction", "tools", "generationConfig"))
_CONFIG: Final = names_of(_PARAMETERS) - {"thinkingConfig", "responseMimeType"}
"""Members of a request and its configuration that are completely recorded in attributes or messages."""
_ANSWERED: Final[Readings] = {
    "responseId": (names.RESPONSE_ID, string),
    "modelVersion": (names.RESPONSE_MODEL, string),
}


_ANSWER: Final = names_of(_ANSWERED, ("candidates", "usageMetadata", "error", "sdkHttpResponse", "createTime"))


def parameters_in(body: Body, known: Set[str], *inner: tuple[str, Set[str]]) -> Content:
    """Return the parameters without an attribute, by their names in Python's models."""
    found = parameters(body, known, *inner)
    return {name: {in_python(key): value for key, value in obj(left).items()} for name, left in found.items()}


def usage_attributes(counts: Object) -> Attributes:
    """Return the usage.

    Google counts reasoning apart from the answer, and tool results apart from the prompt. Both are billed.
    """
    found = read(counts, _COUNTS)
    if names.INPUT_TOKENS in found:
        found[names.INPUT_TOKENS] += integer(counts.get("toolUsePromptTokenCount")) or 0
    if names.OUTPUT_TOKENS not in found and (said := integer(counts.get("responseTokenCount"))) is not None:
        found[names.OUTPUT_TOKENS] = said  # Live's name for it
    if (thought := found.get(names.REASONING_TOKENS)) is not None:
        found[names.OUTPUT_TOKENS] = found.get(names.OUTPUT_TOKENS, 0) + thought
    for member_name, side in _DETAILS.items():
        for one in objects(counts.get(member_name)):
            count = integer(one.get("tokenCount"))
            if count and (attribute := side.get(str(one.get("modality")))) is not None:
                found[attribute] = count
    return found


_COUNTS: Final[Readings] = {
    "promptTokenCount": (names.INPUT_TOKENS, integer),
    "candidatesTokenCount": (names.OUTPUT_TOKENS, integer),
    "thoughtsTokenCount": (names.REASONING_TOKENS, integer),
    "cachedContentTokenCount": (names.CACHE_READ_TOKENS, integer),
}
_INPUTS: Final[Mapping[str, str]] = {
    "TEXT": names.TEXT_INPUT_TOKENS,
    "IMAGE": names.IMAGE_INPUT_TOKENS,
    "AUDIO": names.AUDIO_INPUT_TOKENS,
    "VIDEO": names.VIDEO_INPUT_TOKENS,
}
_OUTPUTS: Final[Mapping[str, str]] = {
    "TEXT": names.TEXT_OUTPUT_TOKENS,
    "IMAGE": names.IMAGE_OUTPUT_TOKENS,
    "AUDIO": names.AUDIO_OUTPUT_TOKENS,
    "VIDEO": names.VIDEO_OUTPUT_TOKENS,
}
_DETAILS: Final[Mapping[str, Mapping[str, str]]] = {
    "promptTokensDetails": _INPUTS,
    "responseTokensDetails": _OUTPUTS,
    "candidatesTokensDetails": _OUTPUTS,
}
"""Lists of counts by modality."""
COUNTED: Final[Counts] = dict.fromkeys((*_COUNTS, *_DETAILS, "responseTokenCount", "totalTokenCount"))
"""Counts of a usage that have attributes."""


def failure_in(error: Any) -> Failure | None:
    """Return the error of an answer with status 200."""
    found = obj(error)
    if not found:
        return None
    kind = string(found.get("status")) or str(found.get("code") or "error")
    return Failure(type=kind, message=string(found.get("message")) or kind)
