"""`Converse` and `ConverseStream`; Amazon's Nova models have the same bodies in direct invocations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, Final

from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations import _parts as parts
from pandaprobe_otel_integrations._endpoint import (
    Attributes,
    Body,
    Endpoint,
    Partly,
    Service,
    Table,
    common,
    counted,
    first_integer,
    inside,
    with_cached,
)
from pandaprobe_otel_integrations._json import Object, integer, items, number, obj, objects, string
from pandaprobe_otel_integrations._other_members import Reader, joined, reading, rest, tool_part, turn, with_rest
from pandaprobe_otel_integrations._parts import Part
from pandaprobe_otel_integrations._streams.text_runs import Growth

# -- content blocks of the Converse API as parts in the conventions' form ----------------------------------------------

_UNSAID: Final = frozenset({"cachePoint", "text", "image", "SDK_UNKNOWN_MEMBER"})
"""Cache marks, members without a value, and members that an old botocore does not know."""


def input_messages(messages: Any) -> list[Part]:
    """Return messages of a request. Tool results inside a user's message become a separate message."""
    found: list[Part] = []
    for message in objects(messages):
        found += turn(string(message.get("role")) or "user", objects(message.get("content")), _is_result, block_parts)
    return found


def _is_result(block: Object) -> bool:
    return "toolResult" in block


def tool_definitions(tools: Any) -> list[Part]:
    """Return the tools that the model may call."""
    found: list[Part] = []
    for tool in objects(tools):
        if declared := obj(tool.get("toolSpec")):
            schema = obj(declared.get("inputSchema")).get("json")
            found.append(tool_part(declared, "function", declared.get("name"), schema, "inputSchema"))
        elif system := obj(tool.get("systemTool")):
            found.append({"type": "system_tool", "name": string(system.get("name")) or "system_tool"})
    return found


def block_parts(blocks: Any) -> list[Part]:
    """Return the blocks that are not empty."""
    return [part for block in objects(blocks) if (part := _part(block)) is not None]


def _part(block: Object) -> Part | None:
    text = block.get("text")
    if isinstance(text, str):
        return parts.text(text) if len(block) == 1 else with_rest(parts.text(text), block, _UNSAID)
    for kind, reader in _READERS.items():
        if inside := obj(block.get(kind)):
            return reader(inside)
    if "reasoningContent" in block:
        thought = string(obj(obj(block["reasoningContent"]).get("reasoningText")).get("text"))
        return parts.reasoning(thought) if thought else None
    if guarded := obj(block.get("guardContent")):
        text = obj(guarded.get("text"))
        said = _part({"text": text.get("text"), "image": guarded.get("image")})
        return with_rest(said, text, {"text"}) if said is not None else None
    other = rest(block, _UNSAID)
    return {"type": next(iter(other)), **other} if other else None


def _call(call_id: Any, name: Any, given: Any) -> Part:
    return parts.tool_call(call_id, name, given if given not in (None, "") else {})


def _answer(call_id: Any, content: Any) -> Part:
    return parts.tool_response(call_id, _result(content))


def _cited(content: Any) -> Part:
    texts = [string(one.get("text")) for one in objects(content)]
    return parts.text("".join(text for text in texts if text))


def _result(content: Any) -> Any:
    found: list[Any] = [block["json"] if "json" in block else _part(block) for block in objects(content)]
    texts = [str(block["text"]) for block in objects(content) if "text" in block]
    if len(texts) == len(found):
        return "\n".join(texts)
    return found[0] if len(found) == 1 else found


def _medium(kind: str, given: Any, given_form: Any) -> Part:
    source, form = obj(given), string(given_form)
    mime_type = f"{kind}/{form}" if form is not None and kind != "document" else form
    if (data := source.get("bytes")) is not None:
        return parts.medium(data, kind, mime_type)
    if uri := string(obj(source.get("s3Location")).get("uri")):
        return parts.media(uri, kind)
    if text := string(source.get("text")):
        return parts.text(text)
    texts = [string(one.get("text")) for one in objects(source.get("content"))]
    return parts.text("\n".join(text for text in texts if text)) if items(texts) else {"type": kind, "modality": kind}


_NONE: Final = frozenset[str]()
_READERS: Final[Mapping[str, Reader]] = {
    "toolUse": reading(_call, "toolUseId", "name", "input", beside=_NONE),
    "toolResult": reading(_answer, "toolUseId", "content", beside=_NONE),
    "citationsContent": reading(_cited, "content", beside=_NONE),
    **{
        kind: reading(partial(_medium, kind), "source", "format", beside=_NONE)
        for kind in ("image", "document", "video", "audio")
    },
}


METRICS: Final = "amazon-bedrock-invocationMetrics"


def _top_k(more: Any) -> float | None:
    """Return the limit as Anthropic's or Amazon's models name it."""
    fields = obj(more)
    return number(fields.get("top_k") or obj(fields.get("inferenceConfig")).get("topK"))


_COUNTS: Final = Table(
    {
        **dict.fromkeys(("inputTokens", "inputTokenCount"), (names.INPUT_TOKENS, integer)),
        **dict.fromkeys(("outputTokens", "outputTokenCount"), (names.OUTPUT_TOKENS, integer)),
        "cacheReadInputTokens": (names.CACHE_READ_TOKENS, counted),
        "cacheReadInputTokenCount": (names.CACHE_READ_TOKENS, integer),
        "cacheWriteInputTokens": (names.CACHE_WRITE_TOKENS, counted),
        "cacheWriteInputTokenCount": (names.CACHE_WRITE_TOKENS, integer),
    }
)


def usage_attributes(usage: Any) -> Attributes:
    """Return the usage: Bedrock does not count cached tokens as input, but the conventions do."""
    return with_cached(_COUNTS.read(obj(usage)))


class Converse(Endpoint):
    """A conversation in the form that is the same for every model."""

    operation = "chat"
    service = Service(usage=usage_attributes, counted=_COUNTS.counts("totalTokens"))
    request = {
        **common("model", "stream"),
        "guardrailConfig": Partly(names.GUARDRAIL_ID, inside("guardrailIdentifier")),
        "additionalModelRequestFields": Partly(names.TOP_K, _top_k),
        "inferenceConfig": {
            **common("temperature", topP="top_p", topK="top_k", stopSequences="stop_sequences"),
            ("maxTokens", "max_new_tokens"): (names.MAX_TOKENS, first_integer),
        },
    }
    input = {
        "system": (names.SYSTEM_INSTRUCTIONS, block_parts),
        "messages": (names.INPUT_MESSAGES, input_messages),
        "toolConfig": {"tools": (names.TOOL_DEFINITIONS, tool_definitions)},
    }
    elsewhere = ("modelId", "schemaVersion")
    reason = "stopReason"
    empty = ("output", "ResponseMetadata", "stream", METRICS)
    growing = Growth(
        "contentBlockDelta", "delta", texts={"text": {}, "toolUse": {"input": {}}, "reasoningContent": {"text": {}}}
    )

    def output_parts(self, choice: Object) -> list[Part]:
        """Return the blocks of the message."""
        return block_parts(obj(obj(choice.get("output")).get("message")).get("content"))

    def merged(self, events: Iterable[Object]) -> Body:
        """Return the events as one answer. Each is an object under its name."""
        whole: dict[str, Any] = {}
        message: dict[str, Any] = {}
        blocks: dict[int, dict[str, Any]] = {}
        for name, data in ((name, obj(data)) for event in events for name, data in event.items()):
            if name in _CONTENT:
                index: Any = data.get("contentBlockIndex")
                block = blocks.setdefault(index if isinstance(index, int) else 0, {})
                _continue(block, obj(data.get("delta")))
                block.update({kind: dict(obj(start)) for kind, start in obj(data.get("start")).items()})
            elif name == "messageStart":
                message["role"] = data.get("role")
            elif name in ("messageStop", "metadata"):
                whole.update((key, value) for key, value in data.items() if value is not None)
            elif name == "error":
                whole["error"] = data
        message["content"] = [_cited_text(blocks[index]) for index in sorted(blocks) if blocks[index]]
        return {**whole, "output": {"message": message}}

    def is_output(self, event: Object) -> bool:
        """Return whether the event is content; `messageStart` only announces it."""
        return not _CONTENT.isdisjoint(event)


_CONTENT: Final = frozenset({"contentBlockStart", "contentBlockDelta"})


def _continue(block: dict[str, Any], delta: Object) -> None:
    for kind, piece in delta.items():
        if kind == "citation":
            block.setdefault("citations", []).append(piece)
        elif kind == "toolResult":
            kept = block.setdefault(kind, {})
            kept["content"] = [*items(kept.get("content")), *items(piece)]
        else:
            found = {"reasoningText": dict(obj(piece))} if kind == "reasoningContent" else piece
            block[kind] = joined(block.get(kind), found)


def _cited_text(block: dict[str, Any]) -> dict[str, Any]:
    if "citations" not in block:
        return block
    return {"citationsContent": {"content": [{"text": block.get("text")}], "citations": block["citations"]}}
