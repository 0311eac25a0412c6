"""`POST /v1/messages`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations import _parts as parts
from pandaprobe_otel_integrations._endpoint import (
    ANSWERED,
    Attributes,
    Body,
    Endpoint,
    Partly,
    Service,
    Table,
    common,
    each,
    inside,
    with_cached,
)
from pandaprobe_otel_integrations._json import Object, integer, items, obj, objects, string
from pandaprobe_otel_integrations._other_members import (
    Reader,
    grown,
    pieces,
    reading,
    rest,
    sealed,
    told,
    tool_part,
    turn,
    with_rest,
)
from pandaprobe_otel_integrations._parts import Part, decoded_arguments
from pandaprobe_otel_integrations._streams.body import LastEvent
from pandaprobe_otel_integrations._streams.text_runs import Growth

# -- content blocks of Anthropic's messages as parts in the conventions' form ------------------------------------------


def input_messages(messages: Any) -> list[Part]:
    """Return messages of a request. Tool results inside a user's message become a separate message."""
    found: list[Part] = []
    for message in objects(messages):
        role = string(message.get("role")) or "user"
        content = message.get("content")
        if not isinstance(content, (list, tuple)):
            found.append({"role": role, "parts": block_parts(content)})
            continue
        found += turn(role, content, _is_result, block_parts)  # pyright: ignore[reportUnknownArgumentType]
        if len(message) > 2 and message.keys() - _MESSAGE:
            found[-1] = with_rest(found[-1], message, _MESSAGE)
    return found


def _is_result(block: Object) -> bool:
    return block.get("type") == "tool_result"


def tool_definition(tool: Object) -> Part:
    """Return a tool: the app's own by its schema, Anthropic's by its type."""
    kind = string(tool.get("type"))
    shown = "function" if kind in (None, "custom") else kind
    return tool_part(tool, shown, tool.get("name") or kind, tool.get("input_schema"), "type", "input_schema")


def _other_block(kind: str, block: Object) -> Part | None:
    if kind.endswith("_tool_result"):
        return _server_result(kind, block)
    return told(dict(block)) if block else None


def _thought(thought: Any) -> Part | None:
    return parts.reasoning(thought) if string(thought) else None


def _sealed(data: Any) -> Part | None:
    return parts.reasoning(sealed(data)) if string(data) else None


def _result(call_id: Any, content: Any) -> Part:
    return parts.tool_response(call_id, tool_result(content))


def _server_call(kind: str, call_id: Any, name: Any, given: Any) -> Part:
    return parts.server_tool_call(call_id, string(name) or kind, {"type": kind, "input": given})


def tool_result(content: Any) -> Any:
    """Return a tool's result: text if all blocks are text, otherwise the parts of its blocks."""
    return parts.text_or(block_parts(content)) if isinstance(content, (list, tuple)) else content


def _server_result(kind: str, block: Object) -> Part:
    found: Part = {
        "type": "server_tool_call_response",
        "id": string(block.get("tool_use_id")),
        "server_tool_call_response": {"type": kind, "content": told(block.get("content"))},
    }
    return with_rest(found, block, {"type", "tool_use_id", "content"})


def _medium(block: Object) -> Part:
    source = obj(block.get("source"))
    found = _source(str(block["type"]), source)
    if found is None:
        return {**told(dict(block))}
    return with_rest(with_rest(found, source, _SOURCE), block, {"type", "source"})


def _source(modality: str, source: Object) -> Part | None:
    kind = source.get("type")
    if kind == "base64":
        return parts.base64_blob(str(source.get("data") or ""), modality, string(source.get("media_type")))
    if kind == "url":
        return parts.media(str(source.get("url") or ""), modality)
    if kind == "file":
        return parts.file_reference(str(source.get("file_id") or ""), modality)
    return parts.text(str(source.get("data") or "")) if kind == "text" else None


_MESSAGE: Final = frozenset({"role", "content"})
_SOURCE: Final = frozenset({"type", "data", "url", "file_id", "media_type"})
_ON_SERVER: Final = reading(_server_call, "type", "id", "name", "input")
_READERS: Final[Mapping[str, Reader]] = {
    "thinking": reading(_thought, "thinking", beside={"type", "signature"}),
    "redacted_thinking": reading(_sealed, "data"),
    "tool_use": reading(parts.tool_call, "id", "name", "input"),
    "tool_result": reading(_result, "tool_use_id", "content"),
    "server_tool_use": _ON_SERVER,
    "mcp_tool_use": _ON_SERVER,
    "image": _medium,
    "document": _medium,
}
block_parts: Final = pieces(_READERS, other=_other_block)
"""Reads content: a text, or a list of blocks."""


# -- the events of a streamed message, merged --------------------------------------------------------------------------

# Type of a delta -> its member, and the member of the block that it continues.
_EVENT: Final = frozenset({"type", "delta", "usage"})
_SIGNATURE: Final = "signature_delta"
"""A delta that only the service can read: it is not part of the message, but kept for a replay."""
_DELTAS: Final = {
    "text_delta": ("text", "text"),
    "thinking_delta": ("thinking", "thinking"),
    "input_json_delta": ("partial_json", "input"),
    "compaction_delta": ("content", "content"),
}


def _continue(block: dict[str, Any], delta: Object) -> None:
    """Continue a block. A citation, or any unknown delta, is kept under its own name; citations form a list."""
    kind = delta.get("type")
    source, target = _DELTAS.get(str(kind), ("", ""))
    if source:
        before, piece = block.get(target), delta.get(source)
        if piece and isinstance(piece, str):
            block[target] = before + piece if isinstance(before, str) else piece  # the input of a call begins as {}
    elif kind == "citations_delta":
        block["citations"] = [*items(block.get("citations")), delta.get("citation")]
    elif kind == _SIGNATURE:
        block["signature"] = delta.get("signature")
    else:
        block.update((name, grown(block.get(name), value)) for name, value in rest(delta, {"type"}).items())


def _block(blocks: dict[int, dict[str, Any]], event: Object) -> dict[str, Any]:
    index: Any = event.get("index")
    return blocks.setdefault(index if isinstance(index, int) else 0, {})


def _whole(block: dict[str, Any]) -> dict[str, Any]:
    return {**block, "input": decoded_arguments(block["input"])} if "input" in block else block


_LAST_EVENT: Final = LastEvent(
    hint=b"message_stop",
    mark=re.compile(rb'(?:^|[\n\r])(?:event: ?message_stop[\n\r]|data: ?\{"type": ?"message_stop")'),
)


def _output_type(output_format: Any, output_config: Any) -> str | None:
    wanted = obj(output_format) or obj(obj(output_config).get("format"))
    return "json" if wanted.get("type") == "json_schema" else None


_COUNTS: Final = Table(
    {
        "input_tokens": (names.INPUT_TOKENS, integer),
        "output_tokens": (names.OUTPUT_TOKENS, integer),
        "cache_read_input_tokens": (names.CACHE_READ_TOKENS, integer),
        "cache_creation_input_tokens": (names.CACHE_WRITE_TOKENS, integer),
        "output_tokens_details": {"thinking_tokens": (names.REASONING_TOKENS, integer)},
    }
)


def usage_attributes(usage: Any) -> Attributes:
    """Return the usage: Anthropic does not count cached tokens as input, but the conventions do."""
    return with_cached(_COUNTS.read(obj(usage)))


ANTHROPIC: Final = Service(usage=usage_attributes, counted=_COUNTS.counts())


class Messages(Endpoint):
    """Messages of Anthropic's API."""

    operation = "chat"
    last_event: LastEvent | None = _LAST_EVENT
    service = ANTHROPIC
    request = {
        **common("model", "max_tokens", "temperature", "top_p", "top_k", "stop_sequences", "stream"),
        "output_config": Partly(names.REASONING_LEVEL, inside("effort")),
        "thread": Partly(names.PREVIOUS_RESPONSE_ID, inside("previous_message_id")),
        ("output_format", "output_config"): Partly(names.OUTPUT_TYPE, _output_type),
    }
    input = {
        "system": (names.SYSTEM_INSTRUCTIONS, block_parts),
        "messages": (names.INPUT_MESSAGES, input_messages),
        "tools": (names.TOOL_DEFINITIONS, each(tool_definition)),
    }
    response = ANSWERED
    reason = "stop_reason"
    empty = ("type", "role", "content")
    growing = Growth("delta", texts={source: {} for source, _ in _DELTAS.values()})

    def output_parts(self, choice: Object) -> list[Part]:
        """Return the blocks of the message."""
        return block_parts(choice.get("content"))

    def merged(self, events: Iterable[Object]) -> Body:
        """Return the events as one message."""
        message: dict[str, Any] = {}
        blocks: dict[int, dict[str, Any]] = {}
        for event in events:
            kind = event.get("type")
            if kind == "content_block_delta":  # the usual case
                _continue(_block(blocks, event), obj(event.get("delta")))
            elif kind == "content_block_start":
                _block(blocks, event).update(obj(event.get("content_block")))
            elif kind == "message_start":
                message = {**obj(event.get("message"))}
                # The output tokens at the start are a placeholder.
                message["usage"] = {**obj(message.get("usage")), "output_tokens": None}
            elif kind == "message_delta":
                message.update((key, value) for key, value in obj(event.get("delta")).items() if value is not None)
                counts = ((key, value) for key, value in obj(event.get("usage")).items() if value is not None)
                message["usage"] = {**obj(message.get("usage")), **dict(counts)}
                if event.keys() - _EVENT:
                    message.update(rest(event, _EVENT))
            elif kind == "error":
                message["error"] = event.get("error")
        message["content"] = [_whole(blocks[index]) for index in sorted(blocks)]
        return message

    def is_output(self, event: Object) -> bool:
        """Return whether the event carries content; `message_start` and `ping` only announce it."""
        return event.get("type") in ("content_block_start", "content_block_delta")
