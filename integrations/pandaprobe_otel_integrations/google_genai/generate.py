"""`generateContent`, `streamGenerateContent` and embeddings, of the Gemini API and of Vertex AI."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, ClassVar, Final

from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations import _parts as parts
from pandaprobe_otel_integrations._endpoint import (
    Attributes,
    Body,
    EmbeddingsEndpoint,
    Endpoint,
    Fields,
    Partly,
    Service,
    Table,
    common,
    dimensions,
    finish_reason,
    first_integer,
    one_of,
    question,
)
from pandaprobe_otel_integrations._json import Content, Object, integer, items, obj, objects, string
from pandaprobe_otel_integrations._logprobs import Logprobs
from pandaprobe_otel_integrations._other_members import PARAMETERS, grown, rest, tool_part, turn, with_rest
from pandaprobe_otel_integrations._parts import Part
from pandaprobe_otel_integrations._streams.body import LastEvent
from pandaprobe_otel_integrations._streams.text_runs import Growth

# -- contents of Gemini's API, whole or streamed, as messages and parts in the conventions' form -----------------------

_ROLES: Final[Mapping[str, str]] = {"model": "assistant", "function": "tool"}
_TEXT_PART: Final = {"type", "content"}
_SIGNATURE: Final = frozenset({"thoughtSignature", "thought_signature"})
_TEXT: Final = _SIGNATURE | {"text", "thought"}
_TYPED: Final = _SIGNATURE | {
    "functionCall", "function_call", "functionResponse", "function_response", "inlineData", "inline_data",
    "fileData", "file_data", "executableCode", "executable_code", "codeExecutionResult", "code_execution_result",
}  # fmt: skip
_CALL: Final = frozenset({"id", "name", "args"})
_ANSWER: Final = frozenset({"id", "name", "response"})
_DATA: Final = frozenset({"data", "mimeType", "mime_type", "type"})
_FILE: Final = frozenset({"fileUri", "file_uri", "mimeType", "mime_type"})
_SCHEMAS: Final = ("parameters", "parametersJsonSchema")
_NAMED: Final = frozenset({"type", "name"})
_CANDIDATE: Final = frozenset({"content", "finishReason", "index", "logprobsResult"})
"""Members that the reader of each candidate uses; all others stay beside it, under their own names."""
_MODALITIES: Final = frozenset({"image", "audio", "video"})


def input_messages(contents: Any) -> list[Part]:
    """Return contents of a request. Function results inside a user's content become a separate message."""
    found: list[Part] = []
    for content in objects(contents):
        role = string(content.get("role")) or "user"
        found += turn(_ROLES.get(role, role), objects(content.get("parts")), _is_result, content_parts)
    return found


def _is_result(piece: Object) -> bool:
    return bool(member(piece, "functionResponse"))


def system_parts(instruction: Any) -> list[Part]:
    """Return the system instruction, which is a content without a role."""
    return content_parts(objects(obj(instruction).get("parts")))


def content_parts(pieces: Iterable[Object]) -> list[Part]:
    """Return the parts of a content. Consecutive pieces of one text, as in streams, become one part."""
    found: list[Part] = []
    for piece in pieces:
        part = _part(piece)
        if part is None:
            continue
        last = found[-1] if found else None
        if last is not None and part.keys() == last.keys() == _TEXT_PART and part["type"] == last["type"]:
            last["content"] += part["content"]
        else:
            found.append(part)
    return found


def tool_definitions(tools: Any) -> list[Part]:
    """Return the functions that the app declares, and the names of the service's tools (search, code, ...)."""
    found: list[Part] = []
    for tool in objects(tools):
        for kind, value in tool.items():
            if kind in ("functionDeclarations", "function_declarations"):
                found += [_function(one) for one in objects(value)]
            elif value is not None:
                found.append(with_rest({"type": kind, "name": kind}, obj(value), _NAMED))
    return found


def _function(declared: Object) -> Part:
    schemas = [found for name in _SCHEMAS if (found := member(declared, name)) is not None]
    known = (*_SCHEMAS, *map(in_python, _SCHEMAS))
    return tool_part(declared, "function", declared.get("name"), next(iter(schemas), None), *known)


def _part(piece: Object) -> Part | None:
    text = piece.get("text")
    if isinstance(text, str):
        if not text:
            return None  # carries only a signature of the reasoning
        said = parts.reasoning(text) if piece.get("thought") is True else parts.text(text)
        return said if len(piece) == 1 else with_rest(said, piece, _TEXT)
    found = _typed(piece)
    return with_rest(found, piece, _TYPED) if len(piece) > 1 and found is not None else found


def _typed(piece: Object) -> Part | None:
    if call := obj(member(piece, "functionCall")):
        found = parts.tool_call(id=call.get("id"), name=call.get("name"), arguments=dict(obj(call.get("args"))))
        return with_rest(found, call, _CALL)
    if answer := obj(member(piece, "functionResponse")):
        call_id = string(answer.get("id")) or string(answer.get("name"))
        found = parts.tool_response(id=call_id, response=answer.get("response"))
        return with_rest(found, answer, _ANSWER if call_id == answer.get("name") else _ANSWER - {"name"})
    if data := obj(member(piece, "inlineData")):
        return inline_blob(data)
    if file := obj(member(piece, "fileData")):
        mime_type = string(member(file, "mimeType"))
        found = parts.media(str(member(file, "fileUri") or ""), modality(mime_type))
        return with_rest({**found, "mime_type": mime_type} if mime_type else found, file, _FILE)
    return _code(piece)


def _code(piece: Object) -> Part | None:
    if code := obj(member(piece, "executableCode")):
        return parts.server_tool_call(id=code.get("id"), name="code_execution", call=dict(code))
    if result := obj(member(piece, "codeExecutionResult")):
        return {
            "type": "server_tool_call_response",
            "id": string(result.get("id")),
            "server_tool_call_response": dict(result),
        }
    other = rest(piece, _SIGNATURE)
    return {"type": "other", **other} if other else None


def inline_blob(data: Object) -> Part:
    """Return bytes inside a part; in JSON, they are base64 in the URL alphabet."""
    mime_type = string(member(data, "mimeType"))
    return with_rest(parts.medium(data.get("data"), modality(mime_type), mime_type), data, _DATA)


def modality(mime_type: str | None) -> str:
    """Return `image`, `audio` or `video`; anything else is a document."""
    kind = (mime_type or "").partition("/")[0]
    return kind if kind in _MODALITIES else "document"


def member(thing: Object, name: str) -> Any:
    """Return a member by its JSON name, or by its name in Python's models, which the client sends in some places."""
    if name in thing:
        return thing[name]
    return thing.get(in_python(name))


@lru_cache(maxsize=256)
def in_python(name: str) -> str:
    """Return the name of a member in Python's models."""
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)


class _Candidate:
    """One of the answers. Consecutive pieces that are only text, which nearly all are, become one."""

    def __init__(self) -> None:
        self._pieces: list[Any] = []
        self._texts: list[str] = []
        self._reason: str | None = None
        self._others: dict[str, Any] = {}
        self._logprobs = Logprobs()

    def add(self, candidate: Object) -> None:
        for piece in items(obj(candidate.get("content")).get("parts")):
            text = obj(piece).get("text")
            if isinstance(text, str) and len(piece) == 1:
                self._texts.append(text)
            else:
                self._join_texts()
                self._pieces.append(piece)
        self._reason = string(candidate.get("finishReason")) or self._reason
        if "logprobsResult" in candidate:
            self._logprobs.add(candidate["logprobsResult"])
        if candidate.keys() - _CANDIDATE:
            for name, value in rest(candidate, _CANDIDATE).items():
                self._others[name] = grown(self._others.get(name), value)

    def _join_texts(self) -> None:
        if self._texts:
            self._pieces.append({"text": "".join(self._texts)})
            self._texts = []

    def whole(self) -> Object:
        self._join_texts()
        content: dict[str, Any] = {"content": {"parts": self._pieces}, **self._others}
        if logprobs := self._logprobs.whole():
            content["logprobsResult"] = logprobs
        return content if self._reason is None else {**content, "finishReason": self._reason}


# The client raises at an error in a stream, and its exception keeps the response alive.
_ERROR: Final = LastEvent(hint=b'"error"', mark=re.compile(rb'(?:^|[\n\r])data: \{"error":'))


def _pieces(candidate: Object) -> list[Object]:
    return objects(obj(candidate.get("content")).get("parts"))


def _blocked(feedback: Any) -> list[str] | None:
    return ["content_filter"] if obj(feedback).get("blockReason") else None


def _level(thinking: Any) -> str | None:
    return (string(member(obj(thinking), "thinkingLevel")) or "").lower() or None


_COUNTS: Final = Table(
    {
        "promptTokenCount": (names.INPUT_TOKENS, integer),
        # The second is Live's name.
        **dict.fromkeys(("candidatesTokenCount", "responseTokenCount"), (names.OUTPUT_TOKENS, integer)),
        "thoughtsTokenCount": (names.REASONING_TOKENS, integer),
        "cachedContentTokenCount": (names.CACHE_READ_TOKENS, integer),
    }
)
_DETAILS: Final = {
    "promptTokensDetails": "input",
    "responseTokensDetails": "output",
    "candidatesTokensDetails": "output",
}
"""Lists of counts by modality, each with its side of the call."""
COUNTED: Final = _COUNTS.counts(*_DETAILS, "totalTokenCount")
"""Counts of a usage that have attributes."""


def billed(found: Attributes, tools: Any) -> Attributes:
    """Return a usage with what Google counts apart and bills: reasoning, and the results of tools."""
    if names.INPUT_TOKENS in found:
        found[names.INPUT_TOKENS] += integer(tools) or 0
    if names.REASONING_TOKENS in found:
        found[names.OUTPUT_TOKENS] = found.get(names.OUTPUT_TOKENS, 0) + found[names.REASONING_TOKENS]
    return found


def usage_attributes(usage: Any) -> Attributes:
    """Return the usage, with the counts by modality."""
    counts = obj(usage)
    found = billed(_COUNTS.read(counts), counts.get("toolUsePromptTokenCount"))
    for name, side in _DETAILS.items():
        for one in objects(counts.get(name)):
            if (count := integer(one.get("tokenCount"))) and (kind := string(one.get("modality"))):
                found[f"gen_ai.usage.{kind.lower()}.{side}_tokens"] = count
    return found


GOOGLE: Final = Service(usage=usage_attributes, counted=COUNTED, member="usageMetadata")


class GoogleEndpoint(Endpoint):
    """A call of Google's services, whose parameters are shown by their names in Python's models."""

    def other_parameters(self, body: Body) -> Content:
        """Return the other parameters by their names in Python's models."""
        found = super().other_parameters(body)
        left = found.get(PARAMETERS)
        return {PARAMETERS: {in_python(key): value for key, value in left.items()}} if left else found


class GenerateContent(GoogleEndpoint):
    """A call of a Gemini model.

    `model` and `stream` are members of the body here; in the request, they are in the URL.
    """

    operation = "generate_content"
    last_event: LastEvent | None = _ERROR
    service = GOOGLE
    request = {
        **common("model", "stream"),
        "generationConfig": {
            **common(
                *("temperature", "seed"),
                topP="top_p",
                topK="top_k",
                maxOutputTokens="max_tokens",
                frequencyPenalty="frequency_penalty",
                presencePenalty="presence_penalty",
                stopSequences="stop_sequences",
                candidateCount="n",
            ),
            "thinkingConfig": Partly(names.REASONING_LEVEL, _level),
            "responseMimeType": Partly(names.OUTPUT_TYPE, one_of({"application/json": "json"})),
        },
    }
    input = {
        "systemInstruction": (names.SYSTEM_INSTRUCTIONS, system_parts),
        "contents": (names.INPUT_MESSAGES, input_messages),
        "tools": (names.TOOL_DEFINITIONS, tool_definitions),
    }
    response: ClassVar[Fields] = {
        "responseId": (names.RESPONSE_ID, string),
        "modelVersion": (names.RESPONSE_MODEL, string),
        "promptFeedback": Partly(names.FINISH_REASONS, _blocked),
    }
    logprobs = "logprobsResult"
    chosen = _CANDIDATE
    empty: ClassVar[Iterable[str]] = ("candidates", "sdkHttpResponse", "createTime")
    growing = Growth("candidates", "content", "parts", texts={"text": {}})

    def choices(self, body: Body) -> list[Object]:
        """Return the candidates."""
        return objects(body.get("candidates"))

    def finish_reason(self, choice: Object) -> str | None:
        """Return the reason; Gemini has none of its own for function calls."""
        reason = finish_reason(choice.get("finishReason"))
        calls = any(piece.get("functionCall") for piece in _pieces(choice))
        return "tool_call" if reason == "stop" and calls else reason

    def output_parts(self, choice: Object) -> list[Part]:
        """Return the parts of a candidate."""
        return content_parts(_pieces(choice))

    def merged(self, events: Iterable[Object]) -> Body:
        """Return the chunks as one answer. Counts are cumulative: the last ones are the sums."""
        merged: dict[str, Any] = {}
        candidates: dict[int, _Candidate] = {}
        for chunk in events:
            merged.update((key, value) for key, value in chunk.items() if value)
            for candidate in objects(chunk.get("candidates")):
                index: Any = candidate.get("index")
                if type(index) is not int:
                    index = 0
                whole = candidates.get(index)
                if whole is None:
                    whole = candidates[index] = _Candidate()
                whole.add(candidate)
        return {**merged, "candidates": [candidates[index].whole() for index in sorted(candidates)]}

    def is_output(self, event: Object) -> bool:
        """Return whether the chunk has a candidate."""
        return bool(objects(event.get("candidates")))


# -- `embedContent` and `batchEmbedContents`, and embeddings by Vertex AI's `predict`. Vectors are never recorded ------

_INSTANCE: Final = frozenset({"model", "content", "outputDimensionality"})


def _size(own: Any, requests: Any) -> int | None:
    return first_integer(own, *(one.get("outputDimensionality") for one in objects(requests)))


def _embedded(contents: Any) -> list[Part]:
    return [
        part
        for one in objects(contents)
        for part in parts.texts(one.get("content")) or content_parts(objects(obj(one.get("content")).get("parts")))
    ]


def _whole(content: Any) -> list[Part]:
    return _embedded([{"content": content}])


def _embedded_tokens(usage: Any, predictions: Any) -> int | None:
    statistics = (obj(obj(one.get("embeddings")).get("statistics")) for one in objects(predictions))
    counts = [count for one in statistics if (count := integer(one.get("token_count"))) is not None]
    return integer(obj(usage).get("promptTokenCount")) or (sum(counts) if counts else None)


class Embeddings(GoogleEndpoint, EmbeddingsEndpoint):
    """Embeddings of one or several contents, in each of the three forms of Google's services."""

    service = Service(counted=dict.fromkeys(("promptTokenCount", "totalTokenCount")), member="usageMetadata")
    request = {
        **common("model"),
        "parameters": {"outputDimensionality": (names.DIMENSION_COUNT, integer)},
        "embedContentConfig": {"outputDimensionality": (names.DIMENSION_COUNT, integer)},
        ("outputDimensionality", "requests"): (names.DIMENSION_COUNT, _size),
    }
    input = {("content", "requests", "instances"): (names.INPUT_MESSAGES, question(_whole, _embedded, _embedded))}
    response = {
        ("embeddings", "predictions", "embedding"): (names.DIMENSION_COUNT, dimensions),
        ("usageMetadata", "predictions"): (names.INPUT_TOKENS, _embedded_tokens),
    }
    empty = ("sdkHttpResponse",)

    def other_parameters(self, body: Body) -> Content:
        """Return the parameters. If they differ between several contents, return those of each content."""
        found = super().other_parameters(body)
        of_each = [rest(one, _INSTANCE) for one in (*objects(body.get("requests")), *objects(body.get("instances")))]
        if not any(of_each):
            return found
        same = of_each[0] if all(one == of_each[0] for one in of_each) else {"requests": of_each}
        return {PARAMETERS: {**obj(found.get(PARAMETERS)), **{in_python(key): value for key, value in same.items()}}}
