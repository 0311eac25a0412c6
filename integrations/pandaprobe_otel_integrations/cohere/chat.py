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
    EmbeddingsEndpoint,
    Endpoint,
    Failure,
    Partly,
    Service,
    common,
    dimensions,
    each,
    finish_reason,
    inside,
    one_of,
    question,
)
from pandaprobe_otel_integrations._json import Object, integer, items, obj, objects, string, strings
from pandaprobe_otel_integrations._openai_protocol.chat_messages import (
    content_parts,
    input_message,
    output_messages,
    tool_definition,
)
from pandaprobe_otel_integrations._openai_protocol.usage import OUTPUT_TYPES
from pandaprobe_otel_integrations._other_members import Counts, joined, told, with_rest
from pandaprobe_otel_integrations._parts import Part
from pandaprobe_otel_integrations._streams.body import LastEvent
from pandaprobe_otel_integrations._streams.text_runs import Growth

# -- token counts of Cohere's APIs -------------------------------------------------------------------------------------

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


def _typed(block: dict[str, Any]) -> Object:
    """Return a text or reasoning as the kind that appeared last."""
    return {**block, "type": next(name for name in reversed(block) if name != "type")}


_LAST_EVENT: Final = LastEvent(
    hint=b"message-end",
    mark=re.compile(rb'(?:^|[\n\r])(?:event: ?message-end[\n\r]|data: ?\{"type": ?"message-end")'),
)
_OUTPUT: Final = frozenset({"content-start", "content-delta", "tool-plan-delta", "tool-call-start", "tool-call-delta"})


def _messages(messages: Any, documents: Any) -> list[Part]:
    return with_documents([_input_message(message) for message in objects(messages)], documents)


SAMPLING: Final = common(
    *("model", "temperature", "max_tokens", "frequency_penalty", "presence_penalty"),
    *("seed", "stop_sequences", "stream"),
    p="top_p",
    k="top_k",
)
"""Model, sampling and limits, which have the same names in all of Cohere's APIs."""


class Chat(Endpoint):
    """Chat of the second version of the API. Cohere does not name the model that answered."""

    operation = "chat"
    last_event: LastEvent | None = _LAST_EVENT
    service = Service(usage=usage_attributes, counted=COUNTED)
    request = {**SAMPLING, "response_format": Partly(names.OUTPUT_TYPE, inside("type", reader=one_of(OUTPUT_TYPES)))}
    input = {
        ("messages", "documents"): (names.INPUT_MESSAGES, _messages),
        "tools": (names.TOOL_DEFINITIONS, each(tool_definition)),
    }
    response = {"id": (names.RESPONSE_ID, string)}
    reason = "finish_reason"
    empty = ("message", "logprobs")
    growing = Growth(
        "delta",
        "message",
        texts={"content": {"text": {}, "thinking": {}}, "tool_plan": {}, "tool_calls": {"function": {"arguments": {}}}},
    )

    def response_attributes(self, body: Body) -> Attributes:
        """Return id and usage. Cohere's clients for AWS write the counts where the first version has them."""
        return super().response_attributes(body if body.get("usage") else {**body, "usage": body.get("meta")})

    def failure(self, body: Body) -> Failure | None:
        """Return the failure of a generation that broke off."""
        return broken_off(body) or super().failure(body)

    def output_messages(self, choices: list[Object], reasons: list[str | None]) -> list[Part]:
        """Return the message."""
        return output_messages([{"message": _planned(obj(choices[0].get("message"))), "finish_reason": reasons[0]}])

    def merged(self, events: Iterable[Object]) -> Body:
        """Return the events as one answer."""
        members: dict[str, Any] = {}
        message: dict[str, Any] = {"role": "assistant"}
        lists: dict[str, dict[int, Any]] = {"content": {}, "tool_calls": {}}
        for event in events:
            kind, delta = string(event.get("type")), obj(event.get("delta"))
            piece = obj(delta.get("message"))
            index: Any = event.get("index")
            if logprobs := event.get("logprobs"):
                members["logprobs"] = [*items(members.get("logprobs")), logprobs]
            if kind == "message-start":
                members["id"] = event.get("id")
            elif kind == "citation-start":
                cited = piece.get("citations")
                message["citations"] = [*items(message.get("citations")), *(items(cited) or [cited])]
            elif kind == "message-end":
                members.update({name: value for name, value in delta.items() if name != "message"})
            elif kind in _OUTPUT:
                for name, value in piece.items():
                    if name in lists:
                        place = index if isinstance(index, int) else 0
                        lists[name][place] = joined(lists[name].get(place), dict(obj(value)))
                    elif name == "tool_plan":
                        message[name] = joined(message.get(name), value)
        for name, found in lists.items():
            message[name] = [found[place] for place in sorted(found)]
        message["content"] = [_typed(block) for block in message["content"] if block.keys() - {"type"}]
        return {**members, "message": message}

    def is_output(self, event: Object) -> bool:
        """Return whether the event has a piece of the answer."""
        return string(event.get("type")) in _OUTPUT - {"content-start"}


def with_documents(messages: list[Part], documents: Any) -> list[Part]:
    """Return the messages. The user's last one contains the documents that the model should use."""
    if found := told(items(documents)):
        asked = next((one for one in reversed(messages) if one["role"] == "user"), None)
        if asked is None:
            messages.append(asked := {"role": "user", "parts": []})
        asked["documents"] = [parts.decoded_arguments(one) for one in found]
    return messages


def broken_off(body: Body) -> Failure | None:
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


# -- `POST /embed` of both versions ------------------------------------------------------------------------------------


def pictures(images: Any) -> list[Part]:
    """Return one or several pictures, each a `data:` URL or base64."""
    return [parts.medium(image, "image") for image in strings(images) or ()]


def _contents(inputs: Any) -> list[Part]:
    return [part for one in objects(inputs) for part in content_parts(one.get("content"))]


EMBEDDED: Final = {"texts": parts.texts, "images": pictures, "inputs": _contents}
"""Readers of the members with what is embedded."""


class Embed(EmbeddingsEndpoint):
    """`POST /embed` of both versions: texts, or inputs with images."""

    service = Service(usage=usage_attributes, counted=COUNTED, member="meta")
    request = {
        **common("model"),
        "output_dimension": (names.DIMENSION_COUNT, integer),
        "embedding_types": (names.ENCODING_FORMATS, strings),
    }
    input = {tuple(EMBEDDED): (names.INPUT_MESSAGES, question(*EMBEDDED.values()))}
    response = {"id": (names.RESPONSE_ID, string), "embeddings": (names.DIMENSION_COUNT, dimensions)}
    empty = ("response_type", "texts", "images", "inputs")
