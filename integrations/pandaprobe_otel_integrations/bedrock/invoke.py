"""`InvokeModel` and its stream: the model's name, or else the members of the body, determine the body's format."""

from __future__ import annotations

import re
from base64 import b64decode
from binascii import a2b_base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations import _parts as parts
from pandaprobe_otel_integrations._endpoint import (
    Answer,
    Attributes,
    Body,
    DescribedEndpoint,
    Endpoint,
    Failure,
    Partly,
    Service,
)
from pandaprobe_otel_integrations._json import (
    Content,
    Object,
    from_json,
    integer,
    items,
    number,
    obj,
    objects,
    string,
    strings,
)
from pandaprobe_otel_integrations._openai_protocol.chat_messages import content_parts
from pandaprobe_otel_integrations._openai_protocol.endpoints import ForeignChatCompletions
from pandaprobe_otel_integrations._other_members import beside, parameters, with_rest
from pandaprobe_otel_integrations._parts import UNFINISHED, Part
from pandaprobe_otel_integrations._rerank import Rerank
from pandaprobe_otel_integrations._streams import ndjson
from pandaprobe_otel_integrations._streams.body import LastEvent
from pandaprobe_otel_integrations._streams.sse import Blocks, Event, Events
from pandaprobe_otel_integrations._streams.text_runs import Place, joined
from pandaprobe_otel_integrations.anthropic.messages import Messages
from pandaprobe_otel_integrations.bedrock.converse import (
    METRICS,
    Converse,
    failure_in,
    growing_text,
    merged_events,
    usage_attributes,
)
from pandaprobe_otel_integrations.cohere.chat import Chat as CohereChat
from pandaprobe_otel_integrations.cohere.chat_v1 import ChatV1

# -- bodies of models that make pictures and videos. Neither inputs nor results are ever recorded as bytes -------------

_TASK: Final = "Params"
"""Suffix of the member that contains the task, in requests to Amazon's models."""
_GIVEN: Final = frozenset(
    {
        "image", "images", "init_image", "mask", "mask_image", "style_image", "conditionImage", "maskImage",
        "referenceImage", "sourceImage",
    }
)  # fmt: skip
"""Members that are pictures, as base64."""
_SAID: Final = _GIVEN | {"text", "prompt", "text_prompts"}
_ARTIFACT: Final = frozenset({"base64"})


def _pictures(images: Any, artifacts: Any) -> list[Part]:
    made = [parts.base64_blob(one, "image", None) for one in items(images) if isinstance(one, str)]
    more = [(one, parts.base64_blob(string(one.get("base64")) or "", "image", None)) for one in objects(artifacts)]
    return parts.whole_message(made + [with_rest(picture, one, _ARTIFACT) for one, picture in more])


def _refusal(error: Any) -> Failure | None:
    message = string(error)
    return Failure(type="error", message=message) if message is not None else None


class Pictures(DescribedEndpoint):
    """Pictures by Amazon's Nova Canvas and Titan, and by Stability's models. A refusal takes the place of a picture."""

    operation = "generate_content"
    service = Service(failure=_refusal)
    constants = {names.OUTPUT_TYPE: "image"}
    request = {"model": (names.REQUEST_MODEL, string)}
    elsewhere = (*_SAID, "stream")
    output = {("images", "artifacts"): (names.OUTPUT_MESSAGES, _pictures)}
    empty = (METRICS,)

    def request_content(self, body: Body) -> Content:
        """Return the instructions, and pictures by size and hash."""
        tasks = [name for name in body if name.endswith(_TASK) and obj(body[name])]
        said = [*_output(body), *(part for name in tasks for part in _task(obj(body[name])))]
        return {names.INPUT_MESSAGES: parts.user_message(said), **parameters(body, self.known.union(tasks))}


class Videos(Pictures):
    """Videos by Amazon's Nova Reel and by Luma's models: the request starts a job."""

    constants = {names.OUTPUT_TYPE: "video"}


def _task(task: Object) -> list[Part]:
    """Return the task of one of Amazon's models: the text, its other members, and the pictures."""
    said = _output(task)
    if not said:
        return [with_rest({"type": "task"}, task, _SAID)]
    said[0] = with_rest(said[0], task, _SAID)
    return said


def _output(members: Object) -> list[Part]:
    texts = [text for name in ("prompt", "text") if (text := string(members.get(name))) is not None]
    found = [parts.text(text) for text in texts]
    weighed = objects(members.get("text_prompts"))
    found += [with_rest(parts.text(str(one.get("text") or "")), one, {"text"}) for one in weighed]
    given: list[tuple[str, Any]] = [
        (name, one)
        for name in members
        if name in _GIVEN
        for one in (members[name] if isinstance(members[name], (list, tuple)) else (members[name],))
    ]
    return found + [_picture(name, one) for name, one in given if one]


def _picture(name: str, given: Any) -> Part:
    if isinstance(given, str):
        return {**parts.base64_blob(given, "image", None), "name": name}
    members = obj(given)
    source = obj(members.get("source"))
    data = string(source.get("bytes"))
    found = parts.base64_blob(data, "image", string(members.get("format"))) if data is not None else {"type": "image"}
    return with_rest({**found, "name": name}, members, {"source"} if data is not None else set())


# -- bodies of models that continue a prompt with text. Each family has its own names for the same members -------------

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


_COUNTS: Final = {
    "inputTokenCount": "inputTokens",
    "outputTokenCount": "outputTokens",
    "cacheReadInputTokenCount": "cacheReadInputTokenCount",
    "cacheWriteInputTokenCount": "cacheWriteInputTokenCount",
}
"""Counts in the metrics, by their names elsewhere."""
_METRICS_NAME: Final = METRICS.encode()
_HEAD: Final = re.compile(rb'event: chunk\ndata: \{"bytes":\s*"')
_TAIL: Final = re.compile(rb'"(?:,\s*"p":\s*"[0-9A-Za-z]*")?\s*\}')
"""The text behind a chunk, with its padding."""
_ERROR: Final = LastEvent(hint=b"Exception", mark=re.compile(rb"^event: \w+Exception\n"))


class Invocation:
    """A call with a body in the model's own format. Bedrock's additions are the same for all: errors and counts."""

    last_event: LastEvent | None = _ERROR

    def __init__(self, model: Endpoint) -> None:
        self.model = model
        self.operation = model.operation
        self.request_attributes = model.request_attributes
        self.request_content = model.request_content

    def answer(self, body: Body, *, with_content: bool) -> Answer:
        """Return the model's answer, with Bedrock's counts if the answer has none."""
        answer = self.model.answer(body, with_content=with_content)
        if METRICS in body:
            for name, count in _metered(obj(body[METRICS])).items():
                if answer.attributes.get(name) is None:
                    answer.attributes[name] = count
        failure = failure_in(body["error"]) if "error" in body else None
        return answer if failure is None else replace(answer, failure=failure)

    def merged(self, events: Events) -> Body:
        """Return the model's chunks as one answer."""
        found = _Inside(events)
        chunks = joined(ndjson.parse(found.lines()), getattr(self.model, "growing", None))
        return {**self.model.merged(chunks), **found.beside()}

    def is_output(self, event: Event) -> bool:
        """Return whether the chunk is output, as decided by the model's reader."""
        chunk = _chunk(event)
        return chunk is not None and self.model.is_output(chunk)


def _metered(metrics: Object) -> Attributes:
    return usage_attributes({_COUNTS[name]: count for name, count in metrics.items() if name in _COUNTS})


def _chunk(event: Event) -> Event | None:
    """Return the model's chunk inside an event of the stream."""
    data = string(obj(event.data).get("bytes"))
    return Event(None, from_json(b64decode(data)), event.ends_at) if data is not None else None


class _Inside:
    """The content of a stream's events: the model's chunks, as JSON, and Bedrock's own messages."""

    def __init__(self, events: Events) -> None:
        self._chunks: list[bytes] = []
        self._error: Object | None = None
        if events.blocks is not None:
            self._add(events.blocks)

    def _add(self, blocks: Blocks) -> None:
        chunks = self._chunks
        for block in blocks.split():
            head = _HEAD.match(block)
            if head is not None:
                start = head.end()
                end = block.find(b'"', start)
                if block.find(b"\\", start, end) < 0 and _TAIL.fullmatch(block, end) is not None:
                    chunks.append(a2b_base64(block[start:end]))
                    continue
            event = blocks.read(block)
            if event is not None:
                self._read(event)

    def _read(self, event: Event) -> None:
        data = obj(event.data)
        if (carried := string(data.get("bytes"))) is not None:
            self._chunks.append(a2b_base64(carried))
        elif self._error is None and (event.name or "").endswith("Exception"):
            self._error = {"type": event.name, "message": data.get("message")}

    def lines(self) -> bytes:
        """Return the chunks, each on its own line; line breaks in JSON are only white space."""
        lines = b"\n".join(self._chunks)
        if lines.count(b"\n") < len(self._chunks):
            return lines
        return b"\n".join([chunk.replace(b"\n", b" ") for chunk in self._chunks])

    def beside(self) -> dict[str, Any]:
        """Return the counts, which are in one of the chunks, and an error."""
        told = [chunk for chunk in self._chunks if chunk.find(_METRICS_NAME) >= 0]
        metered = (obj(obj(from_json(chunk)).get(METRICS)) for chunk in told)
        counts = next((found for found in metered if found), None)
        return {METRICS: counts} if self._error is None else {METRICS: counts, "error": self._error}


class Nova(Converse):
    """Amazon's Nova: the bodies of the Converse API. A chunk contains the name of its event."""

    def merged(self, events: Events) -> Body:
        """Return the chunks as one answer."""
        return merged_events(pair for event in events.items for pair in _named(event))

    def is_output(self, event: Event) -> bool:
        """Return whether the event is the first content."""
        return any(name in ("contentBlockStart", "contentBlockDelta") for name, _ in _named(event))

    def growing(self, event: Event) -> Place | None:
        """Return the text of a chunk with one event."""
        named = [*_named(event)]
        place = growing_text(*named[0]) if len(named) == 1 else None
        return (named[0][0], *place) if place is not None else None


def _named(event: Event) -> Iterable[tuple[str, Object]]:
    return [(name, obj(value)) for name, value in obj(event.data).items() if isinstance(value, dict)]


class Chat(ForeignChatCompletions):
    """OpenAI's protocol as Mistral, OpenAI's open models and others implement it here."""

    empty = (*ForeignChatCompletions.empty, METRICS)

    def answer(self, body: Body, *, with_content: bool) -> Answer:
        """Return the answer like OpenAI's; some models have a `stop_reason` in place of a finish reason."""
        choices = [_choice(choice) for choice in objects(body.get("choices"))]
        return super().answer({**body, "choices": choices}, with_content=with_content)

    def merged(self, events: Events) -> Body:
        """Return the merged chunks; some models have a `message` in place of a delta."""
        chunks: list[Event] = []
        for event in events.items:
            data = obj(event.data)
            choices = [_delta(_choice(choice)) for choice in objects(data.get("choices"))]
            chunks.append(Event(event.name, {**data, "choices": choices}, event.ends_at))
        return super().merged(Events(chunks))


def _choice(choice: Object) -> Object:
    return choice if choice.get("finish_reason") else {**choice, "finish_reason": choice.get("stop_reason")}


def _delta(choice: Object) -> Object:
    return choice if "delta" in choice else {**choice, "delta": choice.get("message")}


class BedrockRerank(Rerank):
    """Documents in order of relevance, by Cohere's and Amazon's models."""

    elsewhere = ("stream",)


def _invoke_picture(given: str) -> Part:
    return parts.media(given, "image") if given.startswith("data:") else parts.base64_blob(given, "image", None)


def _embedded(text: Any, texts: Any, image: Any, images: Any, inputs: Any, nova: Any) -> list[Part]:
    nova_text = obj(obj(nova).get("text")).get("value")
    found = [parts.text(one) for one in (text, nova_text, *items(texts)) if isinstance(one, str)]
    found += [_invoke_picture(one) for picture in (image, *items(images)) if (one := string(picture)) is not None]
    return parts.user_message(found + [part for one in objects(inputs) for part in content_parts(one.get("content"))])


def _size(dimensions: Any, output_dimension: Any) -> int | None:
    return integer(dimensions) or integer(output_dimension)


def _dimensions(embedding: Any, embeddings: Any) -> int | None:
    several = embeddings
    if not isinstance(several, (list, tuple)):
        several = next(iter(obj(several).values()), None)  # by type
    return len(items(embedding) or items(next(iter(items(several)), None))) or None


_TEXTS: Final = ("inputText", "texts", "inputImage", "images", "inputs")


class Embeddings(DescribedEndpoint):
    """Embeddings of Amazon's and Cohere's models. The vectors are never recorded."""

    operation = "embeddings"
    request = {
        "model": (names.REQUEST_MODEL, string),
        ("dimensions", "output_dimension"): (names.DIMENSION_COUNT, _size),
    }
    input = {(*_TEXTS, "singleEmbeddingParams"): Partly(names.INPUT_MESSAGES, _embedded)}
    elsewhere = (*_TEXTS, "stream")
    response = {
        ("embedding", "embeddings"): (names.DIMENSION_COUNT, _dimensions),
        "inputTextTokenCount": (names.INPUT_TOKENS, integer),
    }
    empty = ("id", "embeddingsByType", "data", "texts", "images", "response_type", METRICS)


_CHAT: Final = Chat()
_COHERE: Final = Invocation(CohereChat())
_PICTURES: Final = Invocation(Pictures())
_VIDEOS: Final = Invocation(Videos())
_RERANK: Final = Invocation(BedrockRerank())
_PEGASUS: Final = Invocation(PEGASUS)
_BY_NAME: Final[Sequence[tuple[str, Invocation]]] = (
    ("embed", Invocation(Embeddings())),
    ("rerank", _RERANK),
    ("titan-image", _PICTURES),
    ("nova-canvas", _PICTURES),
    ("stability.", _PICTURES),
    ("nova-reel", _VIDEOS),
    ("luma.", _VIDEOS),
    ("twelvelabs.pegasus", _PEGASUS),
    ("amazon.titan", Invocation(TITAN)),
    ("amazon.nova", Invocation(Nova())),
    ("meta.llama", Invocation(LLAMA)),
    ("cohere.command-r", Invocation(ChatV1())),
    ("cohere.command", Invocation(COHERE)),
)
"""Readers by a piece of the model's identifier. An inference profile has a longer identifier with the same piece."""
_BY_MEMBER: Final[Sequence[tuple[str, Invocation]]] = (
    ("anthropic_version", Invocation(Messages())),
    ("schemaVersion", Invocation(Nova())),
    ("inferenceConfig", Invocation(Nova())),
    ("messages", Invocation(_CHAT)),
    ("textGenerationConfig", Invocation(TITAN)),
    ("max_gen_len", Invocation(LLAMA)),
    ("message", Invocation(ChatV1())),
    ("taskType", _PICTURES),
    ("text_prompts", _PICTURES),
    ("query", _RERANK),
    ("inputPrompt", _PEGASUS),
    ("inputText", Invocation(Embeddings())),
    ("texts", Invocation(Embeddings())),
)
"""Readers by a member of the request, for models without a telling name: provisioned, imported and newer ones."""
_PROMPT: Final[Sequence[tuple[str, Invocation]]] = (
    ("deepseek", Invocation(DEEPSEEK)),
    ("mistral", Invocation(MISTRAL)),
)


def invocation(model_id: str, body: Body) -> Invocation:
    """Return the reader of requests to this model and their answers."""
    if "messages" in body and "cohere." in model_id:
        return _COHERE
    for piece, model in _BY_NAME:
        if piece in model_id:
            return model
    for member, model in _BY_MEMBER:
        if member in body:
            return model
    return next((model for piece, model in _PROMPT if piece in model_id), _PROMPT[0][1])
