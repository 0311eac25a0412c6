"""`POST /v2/chat` and `/embed`. A chat's messages are like OpenAI's; its events have their own form."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations import _parts as parts
from pandaprobe_otel_integrations._endpoint import (
    Attributes,
    Body,
    DescribedEndpoint,
    Failure,
    Fields,
    Partly,
    Service,
    each,
    true,
)
from pandaprobe_otel_integrations._json import Content, Object, integer, items, number, obj, objects, string, strings
from pandaprobe_otel_integrations._logprobs import with_logprobs
from pandaprobe_otel_integrations._openai_protocol.chat_messages import (
    content_parts,
    input_message,
    output_messages,
    tool_definition,
)
from pandaprobe_otel_integrations._other_members import Counts, told, with_rest
from pandaprobe_otel_integrations._parts import Part
from pandaprobe_otel_integrations._streams.body import LastEvent
from pandaprobe_otel_integrations._streams.sse import Event, Events
from pandaprobe_otel_integrations._streams.text_runs import Place

# -- token counts of Cohere's APIs, and its finish reasons -------------------------------------------------------------

_FINISH_REASONS: Final = {
    "complete": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "error_limit": "length",
    "tool_call": "tool_call",
    "error_toxic": "content_filter",
}
"""Cohere's reasons in the conventions' words; all others stay, in lower case."""


def finish_reason(value: Any) -> str | None:
    """Return a finish reason in the conventions' words."""
    reason = string(value)
    return _FINISH_REASONS.get(reason.lower(), reason.lower()) if reason is not None else None


COUNTED: Final[Counts] = {
    "billed_units": frozenset({"input_tokens", "output_tokens"}),
    "cached_tokens": None,
}
"""Counts of a usage that have attributes. If the billed tokens differ, the model's tokens are kept as well."""


def usage_attributes(usage: Any) -> Attributes:
    """Return the usage from `usage` of the second version of the API, or `meta` of the first.

    Cohere reports the billed tokens, and the model's tokens, which include its own preamble. If there are both, the
    conventions want the billed tokens.
    """
    billed, seen = obj(obj(usage).get("billed_units")), obj(obj(usage).get("tokens"))
    return {
        names.INPUT_TOKENS: _count(billed, seen, "input_tokens"),
        names.OUTPUT_TOKENS: _count(billed, seen, "output_tokens"),
        names.CACHE_READ_TOKENS: integer(obj(usage).get("cached_tokens")),
    }


def _count(billed: Any, seen: Any, name: str) -> int | None:
    # Cohere's clients for AWS write -1 for a count that the service did not send.
    counts = (integer(billed.get(name)), integer(seen.get(name)))
    return next((count for count in counts if count is not None and count >= 0), None)


# -- the events of a streamed chat of Cohere's second API, merged ------------------------------------------------------


def merged_events(events: Iterable[Object]) -> Body:
    """Return the answer of the events, in the form of an answer without streaming."""
    answer = _Answer()
    for event in events:
        answer.add(event)
    return answer.whole()


def growing_text(event: Object) -> Place | None:
    """Return the place of the text that an event continues: in the answer, the plan, or a call's arguments."""
    kind, message = event.get("type"), obj(obj(event.get("delta")).get("message"))
    where: tuple[str, ...] = ()
    if kind == "content-delta" and not event.get("logprobs"):
        said = [name for name in ("text", "thinking") if string(obj(message.get("content")).get(name)) is not None]
        where = ("content", said[0]) if len(said) == 1 else ()
    elif kind == "tool-plan-delta":
        where = ("tool_plan",) if string(message.get("tool_plan")) is not None else ()
    elif kind == "tool-call-delta":
        function = obj(obj(message.get("tool_calls")).get("function"))
        where = ("tool_calls", "function", "arguments") if string(function.get("arguments")) is not None else ()
    return ("delta", "message", *where) if where else None


class _Answer:
    def __init__(self) -> None:
        self._members: dict[str, Any] = {}
        self._plan: list[str] = []
        self._content: dict[int, _Block] = {}
        self._calls: dict[int, dict[str, Any]] = {}
        self._citations: list[Any] = []
        self._logprobs: list[Any] = []

    def add(self, event: Object) -> None:
        kind, delta = string(event.get("type")), obj(event.get("delta"))
        message = obj(delta.get("message"))
        index: Any = event.get("index")
        place = index if isinstance(index, int) else 0
        if logprobs := event.get("logprobs"):
            self._logprobs.append(logprobs)
        if kind == "message-start":
            self._members["id"] = event.get("id")
        elif kind in ("content-start", "content-delta"):
            self._add_content(place, obj(message.get("content")))
        elif kind == "tool-plan-delta":
            self._plan.append(string(message.get("tool_plan")) or "")
        elif kind in ("tool-call-start", "tool-call-delta"):
            self._add_call(place, obj(message.get("tool_calls")))
        elif kind == "citation-start":
            self._citations += citations if isinstance(citations := message.get("citations"), list) else [citations]
        elif kind == "message-end":
            self._members.update({name: value for name, value in delta.items() if name != "message"})

    def _add_content(self, place: int, piece: Object) -> None:
        block = self._content.get(place)
        if block is None:
            block = self._content[place] = _Block()
        for name in ("text", "thinking"):
            if (text := string(piece.get(name))) is not None:
                block.add(name, text)

    def _add_call(self, place: int, piece: Object) -> None:
        call = self._calls.setdefault(place, {"type": "function", "function": {"name": None, "arguments": ""}})
        call["id"] = string(piece.get("id")) or call.get("id")
        function = obj(piece.get("function"))
        call["function"]["name"] = string(function.get("name")) or call["function"]["name"]
        call["function"]["arguments"] += string(function.get("arguments")) or ""

    def whole(self) -> Body:
        message: dict[str, Any] = {"role": "assistant"}
        if self._plan:
            message["tool_plan"] = "".join(self._plan)
        blocks = [self._content[place].whole() for place in sorted(self._content)]
        message["content"] = [block for block in blocks if block is not None]
        message["tool_calls"] = [self._calls[place] for place in sorted(self._calls)]
        if self._citations:
            message["citations"] = self._citations
        members = {**self._members, "logprobs": self._logprobs} if self._logprobs else self._members
        return {**members, "message": message}


class _Block:
    """A text or reasoning."""

    def __init__(self) -> None:
        self._texts: dict[str, list[str]] = {}

    def add(self, name: str, text: str) -> None:
        pieces = self._texts.get(name)
        if pieces is None:
            pieces = self._texts[name] = []
        pieces.append(text)

    def whole(self) -> dict[str, Any] | None:
        """Return the block as the kind that appeared last; None if nothing arrived."""
        texts = {name: "".join(pieces) for name, pieces in self._texts.items()}
        return {"type": next(reversed(texts)), **texts} if texts else None


_LAST_EVENT: Final = LastEvent(
    hint=b"message-end",
    mark=re.compile(rb'(?:^|[\n\r])(?:event: ?message-end[\n\r]|data: ?\{"type": ?"message-end")'),
)
_OUTPUT_TYPES: Final = {"text": "text", "json_object": "json"}
_OUTPUT: Final = frozenset({"content-delta", "tool-plan-delta", "tool-call-start", "tool-call-delta"})


def _output_type(response_format: Any) -> str | None:
    return _OUTPUT_TYPES.get(string(obj(response_format).get("type")) or "")


def _messages(messages: Any, documents: Any) -> list[Part]:
    return with_documents([_input_message(message) for message in objects(messages)], documents)


SAMPLING: Final[Fields] = {
    "model": (names.REQUEST_MODEL, string),
    "temperature": (names.TEMPERATURE, number),
    "p": (names.TOP_P, number),
    "k": (names.TOP_K, number),
    "max_tokens": (names.MAX_TOKENS, integer),
    "frequency_penalty": (names.FREQUENCY_PENALTY, number),
    "presence_penalty": (names.PRESENCE_PENALTY, number),
    "seed": (names.SEED, integer),
    "stop_sequences": (names.STOP_SEQUENCES, strings),
    "stream": (names.STREAM, true),
}
"""Model, sampling and limits, which have the same names in all of Cohere's APIs."""


class Chat(DescribedEndpoint):
    """Chat of the second version of the API. Cohere does not name the model that answered."""

    operation = "chat"
    last_event: LastEvent | None = _LAST_EVENT
    service = Service(usage=usage_attributes, counted=COUNTED)
    request = {**SAMPLING, "response_format": Partly(names.OUTPUT_TYPE, _output_type)}
    input = {
        ("messages", "documents"): (names.INPUT_MESSAGES, _messages),
        "tools": (names.TOOL_DEFINITIONS, each(tool_definition)),
    }
    response = {"id": (names.RESPONSE_ID, string)}
    empty = ("finish_reason", "message", "error", "logprobs")

    def response_attributes(self, body: Body) -> Attributes:
        """Return id and usage. Cohere's clients for AWS write the counts where the first version has them."""
        return super().response_attributes(body if body.get("usage") else {**body, "usage": body.get("meta")})

    def finish_reason(self, body: Body) -> str | None:
        """Return the reason in the conventions' words."""
        return finish_reason(body.get("finish_reason"))

    def failure(self, body: Body) -> Failure | None:
        """Return the failure of a generation that broke off."""
        return failure_in(body)

    def response_content(self, body: Body, reason: str | None) -> Content:
        """Return the message and the other data."""
        choice = {"message": _planned(obj(body.get("message"))), "finish_reason": reason}
        return {names.OUTPUT_MESSAGES: output_messages([choice]), **with_logprobs(self.other_data(body), [body])}

    def merged(self, events: Events) -> Body:
        """Return the events as one answer."""
        return merged_events(obj(event.data) for event in events.items)

    def is_output(self, event: Event) -> bool:
        """Return whether the event is the first event with a piece of the answer."""
        return string(obj(event.data).get("type")) in _OUTPUT

    def growing(self, event: Event) -> Place | None:
        """Return the text of a delta."""
        return growing_text(obj(event.data))


def with_documents(messages: list[Part], documents: Any) -> list[Part]:
    """Return the messages. The user's last one contains the documents that the model should use."""
    if found := told(items(documents)):
        asked = next((one for one in reversed(messages) if one["role"] == "user"), None)
        if asked is None:
            messages.append(asked := {"role": "user", "parts": []})
        asked["documents"] = [parts.decoded_arguments(one) for one in found]
    return messages


def failure_in(body: Body) -> Failure | None:
    """Return the failure of a generation that broke off: its finish reason, and sometimes a message."""
    if finish_reason(body.get("finish_reason")) != "error":
        return None
    return Failure(type="error", message=string(body.get("error")) or "the generation ended with an error")


def _planned(message: Object) -> Object:
    """Return the plan before tool calls as reasoning of the model."""
    plan = string(message.get("tool_plan"))
    if plan is None:
        return message
    return {**{name: value for name, value in message.items() if name != "tool_plan"}, "reasoning_content": plan}


def _input_message(message: Object) -> Part:
    found = input_message(_planned(message))
    if found["role"] == "tool":
        answer = found["parts"][0]
        answer["response"] = _tool_answer(answer["response"])
    return found


def _tool_answer(response: Any) -> Any:
    """Return a tool's results: the data of its documents."""
    if not isinstance(response, list):
        return response
    return [_found(piece) for piece in objects(response)]  # pyright: ignore[reportUnknownArgumentType]


def _found(piece: Object) -> Any:
    document = obj(piece.get("document"))
    data = parts.decoded_arguments(document.get("data", piece))
    if (members := obj(data)) and document.get("data") is not None:
        return with_rest({**members}, document, {"data"})  # its id, to which citations refer
    return data


# -- `POST /embed` of both versions. Vectors are never recorded --------------------------------------------------------


def _embedded(texts: Any, images: Any, inputs: Any) -> list[Part]:
    found = [parts.text(text) for text in strings(texts) or []]
    found += [parts.media(image, "image") for image in strings(images) or []]
    return parts.user_message(found + [part for one in objects(inputs) for part in content_parts(one.get("content"))])


def _dimensions(embeddings: Any) -> int | None:
    """Return the length of the first vector, in the first encoding that has one number per dimension."""
    if vectors := items(embeddings):
        return len(items(vectors[0])) or None
    by_type = obj(embeddings)
    return next((_dimensions(by_type[name]) for name in ("float", "int8", "uint8") if by_type.get(name)), None)


def _input_usage(meta: Any) -> Attributes:
    return {name: count for name, count in usage_attributes(meta).items() if name != names.OUTPUT_TOKENS}


class Embed(DescribedEndpoint):
    """`POST /embed` of both versions: texts, or inputs with images."""

    operation = "embeddings"
    service = Service(usage=_input_usage, counted=COUNTED, member="meta")
    request = {
        "model": (names.REQUEST_MODEL, string),
        "output_dimension": (names.DIMENSION_COUNT, integer),
        "embedding_types": (names.ENCODING_FORMATS, strings),
    }
    input = {("texts", "images", "inputs"): (names.INPUT_MESSAGES, _embedded)}
    response = {"id": (names.RESPONSE_ID, string), "embeddings": (names.DIMENSION_COUNT, _dimensions)}
    empty = ("response_type", "texts", "images", "inputs")
