"""Data that passes from an answer to a later request of another task.

A task that uses the answers of others, such as one that judges answers as they arrive, makes its calls in the order in
which those answers arrive. So its own order changes between runs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, cast

from pandaprobe_otel.replay.body_units import NO_JSON, deltas, units_of
from pandaprobe_otel.replay.interactions import Interaction, RecordedAnswer

_SHORTEST: Final = 3
"""Fewest characters of a text that identify it in a request."""
_LONGEST: Final = 200


class DataFlow:
    """Answers of a recording, and the requests that contain them."""

    def __init__(self) -> None:
        self._given: dict[int, frozenset[str]] = {}

    def uses(self, later: Interaction, earlier: Sequence[Interaction]) -> bool:
        """Return whether a request contains a text of one of these answers that was not in its question."""
        asked = _text_of(later)
        return any(text in asked for one in earlier for text in self._texts(one))

    def _texts(self, one: Interaction) -> frozenset[str]:
        if one.call not in self._given:
            question = _text_of(one)
            found = {text.strip()[:_LONGEST] for text in _texts_of_answer(one.answer)}
            self._given[one.call] = frozenset(t for t in found if len(t) >= _SHORTEST and t not in question)
        return self._given[one.call]


def _text_of(one: Interaction) -> str:
    try:
        return "\n".join(_leaves(json.loads(one.request.body)))
    except (ValueError, RecursionError):
        return one.request.body.decode("utf-8", "replace")


def _texts_of_answer(answer: RecordedAnswer) -> Iterator[str]:
    """Yield the texts of an answer: those of a stream as a whole, and each value of JSON within them."""
    joined: dict[Any, list[str]] = {}
    for unit in units_of(answer.body, answer.headers.get("content-type", "")):
        if unit.content is not NO_JSON:
            for key, _, text in deltas(unit.content):
                joined.setdefault(key, []).append(text)
    for pieces in joined.values():
        text = "".join(pieces)
        yield text
        yield from text.splitlines()
        try:
            yield from _leaves(json.loads(text))
        except (ValueError, RecursionError):
            continue


def _leaves(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in cast("Mapping[str, Any]", value).values():
            yield from _leaves(item)
    elif isinstance(value, list):
        for item in value:  # pyright: ignore[reportUnknownVariableType]
            yield from _leaves(item)
    elif value is not None:
        yield str(value)
