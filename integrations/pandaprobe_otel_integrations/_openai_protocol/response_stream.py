"""The events of a streamed response, merged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from pandaprobe_otel_integrations._endpoint import Body
from pandaprobe_otel_integrations._shape import Object, integer, items, obj, string

_FINAL_EVENTS: Final = frozenset({"response.completed", "response.incomplete", "response.failed"})


@dataclass(frozen=True, slots=True)
class _Place:
    """The target of a delta: a member of an item, or of one of its parts, at an index that the event names."""

    item_type: str
    member: str
    group: str | None = None
    index_name: str = ""
    part_type: str = ""


_DELTAS: Final = {
    "response.function_call_arguments.delta": _Place("function_call", "arguments"),
    "response.custom_tool_call_input.delta": _Place("custom_tool_call", "input"),
    "response.mcp_call_arguments.delta": _Place("mcp_call", "arguments"),
    "response.code_interpreter_call_code.delta": _Place("code_interpreter_call", "code"),
    "response.output_text.delta": _Place("message", "text", "content", "content_index", "output_text"),
    "response.text.delta": _Place("message", "text", "content", "content_index", "text"),
    "response.output_audio_transcript.delta": _Place(
        "message", "transcript", "content", "content_index", "output_audio"
    ),
    "response.audio_transcript.delta": _Place("message", "transcript", "content", "content_index", "audio"),
    "response.refusal.delta": _Place("message", "refusal", "content", "content_index", "refusal"),
    "response.reasoning_text.delta": _Place("reasoning", "text", "content", "content_index", "reasoning_text"),
    "response.reasoning_summary_text.delta": _Place("reasoning", "text", "summary", "summary_index", "summary_text"),
}


def merged_events(events: Sequence[Object]) -> Body:
    """Return the response of the final event. If it is missing or empty, return the merged deltas."""
    response: dict[str, Any] = {}
    for event in events:
        if carried := obj(event.get("response")):
            response.update(carried)
            if string(event.get("type")) in _FINAL_EVENTS:
                break
        elif event.get("type") == "error":
            response["error"] = event.get("error") or dict(event)
    # Some services leave the output of the final response empty.
    if not items(response.get("output")):
        response["output"] = _output(events)
    return response


def _output(events: Sequence[Object]) -> list[dict[str, Any]]:
    found: dict[int, _Item] = {}
    for event in events:
        index: Any = event.get("output_index")
        if isinstance(index, int):
            found.setdefault(index, _Item()).add(event)
    return [item for index in sorted(found) if (item := found[index].whole())]


class _Item:
    """One item of the output: first as announced, then with its deltas, at last as the complete item."""

    def __init__(self) -> None:
        self._item: dict[str, Any] = {}
        self._pieces: dict[tuple[_Place, int], list[str]] = {}
        self._annotations: dict[int, list[Any]] = {}

    def add(self, event: Object) -> None:
        kind = string(event.get("type")) or ""
        if kind in ("response.output_item.added", "response.output_item.done"):
            self._item = dict(obj(event.get("item")))
            self._pieces.clear()
            self._annotations.clear()
            return
        if kind == "response.output_text.annotation.added":
            place_in_item = integer(event.get("content_index")) or 0
            self._annotations.setdefault(place_in_item, []).append(event.get("annotation"))
            return
        place = _DELTAS.get(kind)
        delta = event.get("delta")
        if place is None or not isinstance(delta, str):
            return
        index: Any = event.get(place.index_name)
        self._pieces.setdefault((place, index if isinstance(index, int) else 0), []).append(delta)
        if not self._item:
            self._item = {"type": place.item_type, "id": event.get("item_id")}

    def whole(self) -> dict[str, Any]:
        item = dict(self._item)
        for (place, index), pieces in sorted(self._pieces.items(), key=lambda entry: entry[0][1]):
            if place.group is None:
                item[place.member] = "".join(pieces)
            else:
                group = items(item.get(place.group))
                part: dict[str, Any] = {"type": place.part_type, place.member: "".join(pieces)}
                if place.part_type == "output_text" and (annotations := self._annotations.get(index)):
                    part["annotations"] = annotations
                item[place.group] = [*group, part]
        return item
