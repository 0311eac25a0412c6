"""`generateContent` and `streamGenerateContent`, of the Gemini API and of Vertex AI."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations._content import Content
from pandaprobe_otel_integrations._endpoint import Answer, Attributes, Body, Failure
from pandaprobe_otel_integrations._shape import Object, integer, number, obj, objects, string, strings
from pandaprobe_otel_integrations._streams.body import LastEvent
from pandaprobe_otel_integrations._streams.sse import Event, Events

from .contents import input_messages, member, merged_candidates, output_messages, system_parts, tool_definitions

# The client raises at an error in a stream, and its exception keeps the response alive.
_ERROR: Final = LastEvent(hint=b'"error"', mark=re.compile(rb'(?:^|[\n\r])data: \{"error":'))
_LAST_WINS: Final = ("usageMetadata", "modelVersion", "responseId", "promptFeedback", "error")
FINISH_REASONS: Final = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    **dict.fromkeys(
        ("SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "IMAGE_SAFETY", "IMAGE_RECITATION"),
        "content_filter",
    ),
}
"""Gemini's reasons in the conventions' words; others are kept, in lower case."""


class GenerateContent:
    """A call of a Gemini model. `model` and `stream` are members of the body here; on the wire the URL says them."""

    operation = "generate_content"
    last_event: LastEvent | None = _ERROR

    def request_attributes(self, body: Body) -> Attributes:
        """Model and parameters."""
        config = obj(body.get("generationConfig"))
        thinking = obj(config.get("thinkingConfig"))
        count = integer(config.get("candidateCount"))
        return {
            names.REQUEST_MODEL: string(body.get("model")),
            names.STREAM: True if body.get("stream") is True else None,
            names.TEMPERATURE: number(config.get("temperature")),
            names.TOP_P: number(config.get("topP")),
            names.TOP_K: number(config.get("topK")),
            names.MAX_TOKENS: integer(config.get("maxOutputTokens")),
            names.FREQUENCY_PENALTY: number(config.get("frequencyPenalty")),
            names.PRESENCE_PENALTY: number(config.get("presencePenalty")),
            names.SEED: integer(config.get("seed")),
            names.STOP_SEQUENCES: strings(config.get("stopSequences")),
            names.CHOICE_COUNT: count if count is not None and count > 1 else None,
            names.REASONING_LEVEL: (string(member(thinking, "thinkingLevel")) or "").lower() or None,
            names.OUTPUT_TYPE: "json" if config.get("responseMimeType") == "application/json" else None,
        }

    def request_content(self, body: Body) -> Content:
        """Contents, system instruction and tools."""
        return {
            names.SYSTEM_INSTRUCTIONS: system_parts(body.get("systemInstruction")),
            names.INPUT_MESSAGES: input_messages(body.get("contents")),
            names.TOOL_DEFINITIONS: tool_definitions(body.get("tools")),
        }

    def answer(self, body: Body, *, with_content: bool) -> Answer:
        """Every candidate, why it ended, and the usage."""
        candidates = objects(body.get("candidates"))
        reasons = [_reason(candidate) for candidate in candidates]
        known = [reason for reason in reasons if reason is not None]
        blocked = string(obj(body.get("promptFeedback")).get("blockReason"))
        if blocked is not None and not known:
            known = ["content_filter"]
        attributes: Attributes = {
            names.RESPONSE_ID: string(body.get("responseId")),
            names.RESPONSE_MODEL: string(body.get("modelVersion")),
            names.FINISH_REASONS: known or None,
            **usage_attributes(obj(body.get("usageMetadata"))),
        }
        content: Content = {names.OUTPUT_MESSAGES: output_messages(candidates, reasons)} if with_content else {}
        return Answer(attributes=attributes, content=content, failure=failure_in(body.get("error")))

    def merged(self, events: Events) -> Body:
        """The chunks as one answer. Counts are cumulative: the last ones are the sums."""
        merged: dict[str, Any] = {}

        def chunks() -> Iterator[Object]:
            for event in events.items:
                chunk = obj(event.data)
                for key in _LAST_WINS:
                    if value := chunk.get(key):
                        merged[key] = value
                yield chunk

        candidates = merged_candidates(chunks())
        return {**merged, "candidates": candidates}

    def is_output(self, event: Event) -> bool:
        """The first chunk with a candidate."""
        return bool(objects(obj(event.data).get("candidates")))


def _reason(candidate: Object) -> str | None:
    given = string(candidate.get("finishReason"))
    if given is None:
        return None
    pieces = objects(obj(candidate.get("content")).get("parts"))
    if given == "STOP" and any(piece.get("functionCall") for piece in pieces):
        return "tool_call"
    return FINISH_REASONS.get(given, given.lower())


def usage_attributes(counts: Object) -> Attributes:
    """Google counts thoughts beside the candidates and results of tools beside the prompt; both are billed."""
    prompt = integer(counts.get("promptTokenCount"))
    tools = integer(counts.get("toolUsePromptTokenCount")) or 0
    said = integer(counts.get("candidatesTokenCount"))
    if said is None:
        said = integer(counts.get("responseTokenCount"))  # Live's name for it
    thought = integer(counts.get("thoughtsTokenCount"))
    return {
        names.INPUT_TOKENS: prompt + tools if prompt is not None else None,
        names.OUTPUT_TOKENS: None if said is None and thought is None else (said or 0) + (thought or 0),
        names.CACHE_READ_TOKENS: integer(counts.get("cachedContentTokenCount")),
        names.REASONING_TOKENS: thought,
        names.AUDIO_INPUT_TOKENS: _audio(counts.get("promptTokensDetails")),
        names.AUDIO_OUTPUT_TOKENS: _audio(counts.get("candidatesTokensDetails") or counts.get("responseTokensDetails")),
    }


def _audio(details: Any) -> int | None:
    counts = [integer(one.get("tokenCount")) for one in objects(details) if one.get("modality") == "AUDIO"]
    return next((count for count in counts if count is not None), None)


def failure_in(error: Any) -> Failure | None:
    """The error of an answer that came under status 200."""
    found = obj(error)
    if not found:
        return None
    kind = string(found.get("status")) or str(found.get("code") or "error")
    return Failure(type=kind, message=string(found.get("message")) or kind)
