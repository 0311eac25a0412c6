"""The events of a streamed message, merged."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from pandaprobe_otel_integrations._endpoint import Body
from pandaprobe_otel_integrations._other_members import grown, rest
from pandaprobe_otel_integrations._parts import decoded_arguments
from pandaprobe_otel_integrations._shape import Object, items, obj, string
from pandaprobe_otel_integrations._streams.text_runs import Place

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


def merged_events(events: Iterable[Object]) -> Body:
    """Return the message of the events, in the form of an answer without streaming."""
    message: dict[str, Any] = {}
    blocks: dict[int, _Block] = {}
    for event in events:
        kind = event.get("type")
        if kind == "content_block_delta":  # the usual case
            _block(blocks, event).add(obj(event.get("delta")))
        elif kind == "content_block_start":
            _block(blocks, event).begin(obj(event.get("content_block")))
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
    message["content"] = [blocks[index].whole() for index in sorted(blocks)]
    return message


def growing_text(event: Object) -> Place | None:
    """Return the text of a delta."""
    delta = obj(event.get("delta")) if event.get("type") == "content_block_delta" else obj(None)
    source, _ = _DELTAS.get(str(delta.get("type")), ("", ""))
    return ("delta", source) if string(delta.get(source)) is not None else None


class _Block:
    def __init__(self) -> None:
        self._block: dict[str, Any] = {}
        self._pieces: dict[str, list[str]] = {}

    def begin(self, block: Object) -> None:
        self._block = dict(block)

    def add(self, delta: Object) -> None:
        source, target = _DELTAS.get(str(delta.get("type")), ("", ""))
        if not source:
            self._add_other(delta)
            return
        piece: Any = delta.get(source)
        if not piece or not isinstance(piece, str):
            return
        pieces = self._pieces.get(target)
        if pieces is None:
            pieces = self._pieces[target] = []
        pieces.append(piece)

    def _add_other(self, delta: Object) -> None:
        """Add a citation, or any unknown delta, to the block under its own name; citations form a list."""
        kind = delta.get("type")
        if kind == "citations_delta":
            self._block["citations"] = [*items(self._block.get("citations")), delta.get("citation")]
        elif kind == _SIGNATURE:
            self._block["signature"] = delta.get("signature")
        else:
            for name, value in rest(delta, {"type"}).items():
                self._block[name] = grown(self._block.get(name), value)

    def whole(self) -> dict[str, Any]:
        block = dict(self._block)
        for member, pieces in self._pieces.items():
            text = "".join(pieces)
            if member == "input":
                block[member] = decoded_arguments(text)
            else:
                block[member] = (string(block.get(member)) or "") + text
        return block


def _block(blocks: dict[int, _Block], event: Object) -> _Block:
    index: Any = event.get("index")
    if not isinstance(index, int):
        index = 0
    block = blocks.get(index)
    if block is None:
        block = blocks[index] = _Block()
    return block
