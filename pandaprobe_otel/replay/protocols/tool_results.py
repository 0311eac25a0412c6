"""Tool results in the order in which the model requested them.

Frameworks that run tools concurrently often add each result as it arrives. That order is random and has no meaning,
since each result names its call.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, cast

from pandaprobe_otel.mapping.values import type_of
from pandaprobe_otel.replay.protocols.parsed_request import Asked

_PARTS: Final = ("content", "parts")


def in_order(asked: Asked) -> Asked:
    """Return a request whose results are in the order of their calls."""
    turns = asked.body.get(asked.turns) if asked.turns else None
    if type_of(turns) is not list:
        return asked
    found = _turns_in_order(cast("list[Any]", turns))
    return asked if found is turns else replace(asked, body={**asked.body, str(asked.turns): found})


def _turns_in_order(turns: list[Any]) -> list[Any]:
    places: dict[str, int] = {}
    found: list[Any] = []
    has_changed = False
    for turn in turns:
        if type_of(turn) is dict:
            for call in _calls_of(turn):
                places.setdefault(call, len(places))
            for name in _PARTS:
                parts: Any = turn.get(name)
                if type_of(parts) is list and len(parts) > 1:
                    moved = _sorted(parts, places)
                    if moved is not parts:
                        turn = {**turn, name: moved}
                        has_changed = True
        found.append(turn)
    moved = _sorted(found, places)
    return moved if has_changed or moved is not found else turns


def _sorted(items: list[Any], places: Mapping[str, int]) -> list[Any]:
    """Return a list with neighbouring results in the order of their calls; the same list if they are in this order
    already.
    """
    found: list[Any] | None = None
    for begin, end in _runs_of_results(items, places):
        some = items[begin:end]
        ordered = sorted(some, key=lambda one: places[_answered(one) or ""])
        if any(one is not other for one, other in zip(some, ordered, strict=True)):
            found = list(items) if found is None else found
            found[begin:end] = ordered
    return items if found is None else found


def _runs_of_results(items: Sequence[Any], places: Mapping[str, int]) -> Iterator[tuple[int, int]]:
    begin: int | None = None
    for index, item in enumerate(items):
        if _answered(item) in places:
            begin = index if begin is None else begin
        elif begin is not None:
            if index - begin > 1:
                yield begin, index
            begin = None
    if begin is not None and len(items) - begin > 1:
        yield begin, len(items)


def _answered(item: Any) -> str | None:
    """Return the id of the call that this result belongs to; None if it is not a result."""
    if type_of(item) is not dict:
        return None
    if item.get("role") == "tool":
        return _text(item.get("tool_call_id"))
    kind = item.get("type")
    if kind == "function_call_output":
        return _text(item.get("call_id"))
    if kind == "tool_result":
        return _text(item.get("tool_use_id"))
    for name in ("toolResult", "functionResponse"):
        for inner in _objects([item.get(name)]):
            return _text(inner.get("toolUseId") or inner.get("id"))
    return None


def _calls_of(turn: Mapping[str, Any]) -> Iterator[str]:
    """Yield the ids of the calls in a turn, in order."""
    if turn.get("type") == "function_call":
        yield from _known(turn.get("call_id"))
    for call in _objects(turn.get("tool_calls")):
        yield from _known(call.get("id"))
    for name in _PARTS:
        for part in _objects(turn.get(name)):
            yield from _call_in(part)


def _objects(found: Any) -> Iterator[Mapping[str, Any]]:
    for item in cast("list[Any]", found) if type_of(found) is list else ():
        if type_of(item) is dict:
            yield item


def _call_in(part: Mapping[str, Any]) -> Iterator[str]:
    if part.get("type") == "tool_use":
        yield from _known(part.get("id"))
    for name in ("toolUse", "functionCall"):
        for inner in _objects([part.get(name)]):
            yield from _known(inner.get("toolUseId") or inner.get("id"))


def _known(found: Any) -> Iterator[str]:
    if (text := _text(found)) is not None:
        yield text


def _text(found: Any) -> str | None:
    return found if type_of(found) is str else None
