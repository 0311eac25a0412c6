"""The events of a streamed chat of Cohere's second API, merged."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pandaprobe_otel_integrations._endpoint import Body
from pandaprobe_otel_integrations._shape import Object, obj, string
from pandaprobe_otel_integrations._streams.text_runs import Place


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
