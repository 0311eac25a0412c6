"""Bodies of models that continue a prompt with text. Each family has its own names for the same members."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations import _parts as parts
from pandaprobe_otel_integrations._content import Content
from pandaprobe_otel_integrations._endpoint import Answer, Attributes, Body
from pandaprobe_otel_integrations._other_members import beside, parameters, with_rest
from pandaprobe_otel_integrations._parts import UNFINISHED, Part
from pandaprobe_otel_integrations._shape import Object, integer, number, obj, objects, string, strings
from pandaprobe_otel_integrations._streams.body import LastEvent
from pandaprobe_otel_integrations._streams.sse import Event, Events

from .converse import METRICS

_REASONS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("finish", "complete", "stop", "stop_sequence", "endoftext", "stop_criteria_met"), "stop"),
    **dict.fromkeys(("length", "max_tokens"), "length"),
    **dict.fromkeys(("content_filtered", "error_toxic", "rag_query_when_rag_disabled"), "content_filter"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TextModel:
    """One family. Paths are member names separated by dots; the first existing path counts."""

    operation: str = "text_completion"
    last_event: LastEvent | None = None
    prompt: Sequence[str] = ("prompt",)
    """The path of the prompt in the request."""
    config: str = ""
    """The path of the parameters in the request."""
    max_tokens: str = "max_tokens"
    top_p: str = "top_p"
    top_k: str = "top_k"
    stop: str = "stop"
    results: str = ""
    """The path of the list of answers; empty if the body itself is the answer."""
    text: str = "text"
    reason: str = "stop_reason"
    input_tokens: str = ""
    output_tokens: str = ""

    # The counts of streams come with the last chunk, under Bedrock's own name.

    def request_attributes(self, body: Body) -> Attributes:
        """Return model and parameters."""
        config = obj(body.get(self.config)) if self.config else body
        return {
            names.REQUEST_MODEL: string(body.get("model")),
            names.STREAM: True if body.get("stream") is True else None,
            names.MAX_TOKENS: integer(config.get(self.max_tokens)),
            names.TEMPERATURE: number(config.get("temperature")),
            names.TOP_P: number(config.get(self.top_p)),
            names.TOP_K: number(config.get(self.top_k)),
            names.STOP_SEQUENCES: strings(config.get(self.stop)),
        }

    def request_content(self, body: Body) -> Content:
        """Return the prompt."""
        messages: list[Part] = []
        prompt = next((text for name in self.prompt if (text := string(body.get(name)))), None)
        if prompt is not None:
            messages.append({"role": "user", "parts": [parts.text(prompt)]})
        config = [(self.config, self._sampling())] if self.config else []
        known = self._sampling() if not self.config else {self.config}
        return {
            names.INPUT_MESSAGES: messages,
            **parameters(body, {"model", "stream", *self.prompt, *known}, *config),
        }

    def answer(self, body: Body, *, with_content: bool) -> Answer:
        """Return the texts, their finish reasons, and the counts."""
        results = objects(_at(body, self.results)) if self.results else [body]
        reasons = [_reason(_at(result, self.reason)) for result in results]
        known = [reason for reason in reasons if reason is not None]
        counted = [integer(_at(result, self.output_tokens)) for result in results] if self.output_tokens else []
        outputs = [count for count in counted if count is not None]
        attributes: Attributes = {
            names.RESPONSE_ID: string(body.get("generation_id")) or string(body.get("id")),
            names.FINISH_REASONS: known or None,
            names.INPUT_TOKENS: integer(_at(body, self.input_tokens)) if self.input_tokens else None,
            names.OUTPUT_TOKENS: sum(outputs) if outputs else None,
        }
        messages = [self._message(result, reason) for result, reason in zip(results, reasons, strict=True)]
        told = [message for message in messages if message["parts"] or message["finish_reason"] != UNFINISHED]
        content: Content = {}
        if with_content:
            content = {names.OUTPUT_MESSAGES: told, **beside(body, self._answered(), {})}
        return Answer(attributes=attributes, content=content)

    def merged(self, events: Events) -> Body:
        """Return the chunks as one answer: each has a piece of the text, and the last ones have the other members."""
        text = ""
        whole: dict[str, Any] = {}
        for event in events.items:
            chunk = obj(event.data)
            result = next(iter(objects(_at(chunk, self.results))), chunk) if self.results else chunk
            text += string(_at(result, self.text)) or ""
            whole.update(_known(chunk))
            whole.update(_known(result))
        return self._as_answer(whole, text)

    def is_output(self, event: Event) -> bool:
        """Return True: every chunk is output."""
        return True

    def _as_answer(self, whole: Mapping[str, Any], text: str) -> Body:
        result: dict[str, Any] = {**whole}
        _put(result, self.text, text)
        if not self.results:
            return result
        answer = {**whole}
        _put(answer, self.results, [result])
        return answer

    def _message(self, result: Object, reason: str | None) -> Part:
        text = string(_at(result, self.text))
        found = [parts.text(text)] if text else []
        message: Part = {"role": "assistant", "parts": found, "finish_reason": reason or UNFINISHED}
        return with_rest(message, result, self._answered()) if self.results else message

    def _sampling(self) -> set[str]:
        return {"temperature", self.max_tokens, self.top_p, self.top_k, self.stop}

    def _answered(self) -> set[str]:
        paths = (self.results, self.text, self.reason, self.input_tokens, self.output_tokens)
        return {"id", "generation_id", "prompt", METRICS, *(path.partition(".")[0] for path in paths)}


def _at(thing: Any, path: str) -> Any:
    for name in path.split("."):
        thing = obj(thing).get(name)
    return thing


def _put(thing: dict[str, Any], path: str, value: Any) -> None:
    *way, last = path.split(".")
    for name in way:
        thing = thing.setdefault(name, {})
    thing[last] = value


def _known(chunk: Object) -> dict[str, Any]:
    return {key: value for key, value in chunk.items() if value is not None}


def _reason(given: Any) -> str | None:
    text = string(given)
    return _REASONS.get(text.lower(), text.lower()) if text is not None else None


TITAN: Final = TextModel(
    prompt=("inputText",),
    config="textGenerationConfig",
    max_tokens="maxTokenCount",
    top_p="topP",
    stop="stopSequences",
    results="results",
    text="outputText",
    reason="completionReason",
    input_tokens="inputTextTokenCount",
    output_tokens="tokenCount",
)
LLAMA: Final = TextModel(
    max_tokens="max_gen_len",
    text="generation",
    input_tokens="prompt_token_count",
    output_tokens="generation_token_count",
)
MISTRAL: Final = TextModel(results="outputs")
DEEPSEEK: Final = TextModel(results="choices")
COHERE: Final = TextModel(top_p="p", top_k="k", stop="stop_sequences", results="generations", reason="finish_reason")
PEGASUS: Final = TextModel(
    operation="chat",
    prompt=("inputPrompt",),
    max_tokens="maxOutputTokens",
    top_p="topP",
    text="message",
    reason="finishReason",
)
