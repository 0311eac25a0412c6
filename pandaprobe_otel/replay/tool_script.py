"""Recorded tool calls: the one that answers a call, by name, arguments and occurrence."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pandaprobe_otel.mapping.clean import clean
from pandaprobe_otel.replay.calls_so_far import Caller, strangeness
from pandaprobe_otel.replay.canonical import Ignored, Piece, digest_of, meaning_of
from pandaprobe_otel.replay.differences import Difference, differences
from pandaprobe_otel.replay.divergence import Divergence
from pandaprobe_otel.replay.divergence_kinds import tool_changed, tool_once_more
from pandaprobe_otel.replay.interactions import ToolCall
from pandaprobe_otel.replay.pairing import Pairing
from pandaprobe_otel.replay.request_keys import ModelRequest


@dataclass(slots=True, eq=False)
class _Known:
    call: ToolCall
    piece: Piece
    asked: bool = False


class ToolScript:
    """Answers to tool calls. The owner holds a lock."""

    def __init__(
        self, calls: Sequence[ToolCall], *, pairing: Pairing, ignore: Sequence[str | re.Pattern[str]] = ()
    ) -> None:
        self._ignored = Ignored.of(ignore)
        self._pairing = pairing
        self._known: dict[str, list[_Known]] = {}
        for call in calls:
            self._known.setdefault(call.name, []).append(_Known(call, self._piece(call.arguments)))

    def knows(self, name: str) -> bool:
        """Return whether there is any tool call."""
        return name in self._known

    def take(self, made: ToolCall, *, caller: Caller | None = None) -> ToolCall | None:
        """Return an unused call with these arguments; None if there is none.

        Of equal calls of parallel branches, it is the one with the model's id of the call, then the one that followed
        the same model call, then the one of the same task.
        """
        piece = self._piece(made.arguments)
        fitting = [one for one in self._known.get(made.name, ()) if not one.asked and one.piece.digest == piece.digest]
        if not fitting:
            return None
        last = 0 if caller is None else caller.last
        found = min(
            fitting,
            key=lambda one: (
                self._pairing.strangeness(one.piece.ids, piece.ids),
                made.call_id is not None and one.call.call_id != made.call_id,
                one.call.after != last if one.call.task else 0,
                *strangeness(caller, task=one.call.task, at=one.call.at, here=made.at),
            ),
        )
        found.asked = True
        self._pairing.learn(found.piece.ids, piece.ids)
        return found.call

    def refusal(self, made: ToolCall, *, after: int) -> Divergence:
        """Return the reason why no call answers: the arguments differ from the nearest one, or all calls were used."""
        known, piece = self._known[made.name], self._piece(made.arguments)
        left = [one for one in known if not one.asked]
        if not left:
            return tool_once_more(made.name, recorded=len(known), at=made.at, after=after)
        nearest = min(left, key=lambda one: (one.call.at != made.at, len(_differences(one.piece, piece))))
        number = known.index(nearest) + 1
        found = _differences(nearest.piece, piece)
        return tool_changed(made.name, number=number, found=found, at=made.at, after=after)

    def never_called(self, wanted: Callable[[str], bool]) -> list[tuple[ToolCall, int]]:
        """Return the tool calls that were never made, with their number among the calls of their tool."""
        return [
            (one.call, number)
            for name, known in self._known.items()
            if wanted(name)
            for number, one in enumerate(known, 1)
            if not one.asked
        ]

    def _piece(self, arguments: Mapping[str, Any]) -> Piece:
        value = meaning_of(clean(dict(arguments)), data=True, patterns=self._ignored.patterns)
        value = self._ignored.applied(value, at=("arguments",), gone=dict[str, Any])
        return Piece("arguments", None, value, *digest_of(value))


def _differences(recorded: Piece, asked: Piece) -> list[Difference]:
    sides = [ModelRequest("tool", "call", None, {"arguments": one.value}, (one,)) for one in (recorded, asked)]
    return differences(*sides)
