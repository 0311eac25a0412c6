"""Words planted in a framework's input, to be found again in its trace."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pandaprobe_otel.demo.scripted_endpoint import Message, Reply, ToolCall
from pandaprobe_otel.mapping import map_trace
from span_recorder import SpanRecorder


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedReply(Reply):
    """A scripted model's reply with a chosen finish reason."""

    ended: str

    @property
    def finish_reason(self) -> str:
        """The chosen reason."""
        return self.ended


class Planted:
    """Words to plant, a different one for each place: `planted["a tool's result"]`."""

    def __init__(self) -> None:
        self._words: dict[str, str] = {}

    def __getitem__(self, place: str) -> str:
        return self._words.setdefault(place, f"planted{len(self._words):03}x")

    def only(self, stands: Callable[[str], bool]) -> Planted:
        """Return only the places for whose words `stands` returns true."""
        found = Planted()
        found._words = {place: word for place, word in self._words.items() if stands(word)}
        return found

    def script(self, messages: Sequence[Message], *, tool: str = "look_up") -> Reply:
        """Call a tool with two planted arguments, then give a planted answer."""
        if messages[-1]["role"] == "tool":
            return Reply(text=f"It is {self['the answer']}.")
        given = {"city": self["a tool's argument"], "unit": self["another argument"]}
        return Reply(tool_calls=(ToolCall(name=tool, arguments=given),))

    def look_up(self, city: str, unit: str) -> str:
        """Look a city up."""
        return self["a tool's result"]

    def unrecorded(self, recorder: SpanRecorder) -> list[str]:
        """Return the places whose words are in none of these spans."""
        return self.missing_in([dict(span.attributes or {}) for span in recorder.spans])

    def lost(self, recorder: SpanRecorder) -> list[str]:
        """Return the places whose words are nowhere in the trace of these spans."""
        return self.missing_in(map_trace(recorder.spans))

    def missing_in(self, told: object) -> list[str]:
        """Return the places whose words are nowhere in this value."""
        assert self._words
        text = json.dumps(told, default=str)
        return [place for place, word in self._words.items() if word not in text]
