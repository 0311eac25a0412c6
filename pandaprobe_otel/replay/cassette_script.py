"""Playback of a cassette: each recorded call is used once, and not before the calls that it had waited for."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar

from pandaprobe_otel.mapping.clean import clean
from pandaprobe_otel.replay.call_order import Caller, ordinal, strangeness
from pandaprobe_otel.replay.divergence import (
    Divergence,
    EndOfRecording,
    Pairing,
    Place,
    came_before,
    changed,
    counted,
    never_made,
    nothing_left,
    numbers_text,
    where,
)
from pandaprobe_otel.replay.interactions import Cassette, Interaction, RecordedRequest, ToolCall
from pandaprobe_otel.replay.request_keys import ModelRequest, RequestReader

_TOOL: Final = "tool"
_Call = TypeVar("_Call", bound=Interaction | ToolCall)


@dataclass(slots=True, eq=False)
class _Entry(Generic[_Call]):
    """A recorded call and its state."""

    call: _Call
    request: ModelRequest | None = None
    """None until it is needed: an entry is parsed when all of its predecessors were made."""
    waits_for: int = 0
    """Number of calls that must be made before this one."""
    followers: list[_Entry[_Call]] = field(default_factory=list["_Entry[_Call]"])
    """Entries that wait for this one."""
    asked: bool = False

    def comes_after(self, caller: Caller | None) -> bool:
        """Return whether it came directly after the last call of this task, which does not decide for others."""
        return caller is not None and (self.call.task == 0 or caller.last == self.call.follows)


class _Answers(Generic[_Call]):
    """Recorded calls of models, or of one tool. The owner holds a lock."""

    def __init__(self, recorded: Sequence[_Call], read: Callable[[_Call], ModelRequest], pairing: Pairing) -> None:
        self.entries = [_Entry(one) for one in recorded]
        self._read = read
        self._pairing = pairing
        self._ready = list(self.entries)
        self._by_key: dict[str, list[_Entry[_Call]]] = {}

    def order(self, number: Callable[[_Call], int], after: Callable[[_Call], Collection[int]]) -> None:
        """Note for each entry which other entries wait for it."""
        by_number: dict[int, list[_Entry[_Call]]] = {}
        for entry in self.entries:
            by_number.setdefault(number(entry.call), []).append(entry)
        for entry in self.entries:
            for before in (one for other in after(entry.call) for one in by_number.get(other, ())):
                before.followers.append(entry)
                entry.waits_for += 1
        self._ready = [entry for entry in self.entries if not entry.waits_for]

    def request(self, entry: _Entry[_Call]) -> ModelRequest:
        """Return the request of an entry."""
        if entry.request is None:
            entry.request = self._read(entry.call)
        return entry.request

    def fitting(
        self, asked: ModelRequest, at: str, caller: Caller | None, call_id: str | None = None
    ) -> _Entry[_Call] | None:
        """Return an unused entry with the same request whose predecessors were made.

        An entry with the same ids has priority, since concurrent requests may differ in nothing else; then the one with
        the model's id of a tool call, then one that followed the last call of the same task.
        """
        for entry in self._ready:
            self._by_key.setdefault(self.request(entry).key, []).append(entry)
        self._ready = []
        fitting = self._by_key.get(asked.key, [])
        if len(fitting) < 2:
            return fitting[0] if fitting else None
        ids = asked.ids
        return min(
            fitting,
            key=lambda one: (
                self._pairing.strangeness(self.request(one).ids, ids),
                call_id is not None and getattr(one.call, "call_id", None) != call_id,
                not one.comes_after(caller),
                *strangeness(caller, task=one.call.task, at=one.call.at, here=at),
            ),
        )

    def taken(self, entry: _Entry[_Call], asked: ModelRequest) -> _Call:
        """Mark an entry as used."""
        recorded = self.request(entry)
        entry.asked = True
        self._pairing.learn(recorded.ids, asked.ids)
        fitting = self._by_key.get(recorded.key, [])
        if entry in fitting:
            fitting.remove(entry)
        for follower in entry.followers:
            follower.waits_for -= 1
            if not (follower.waits_for or follower.asked):
                self._ready.append(follower)
        return entry.call

    def nearest(self, asked: ModelRequest, at: str, caller: Caller | None) -> _Entry[_Call] | None:
        """Return the unused entry that a request was probably meant to be. Its order counts most, then its path."""

        def nearness(entry: _Entry[_Call]) -> float:
            recorded = self.request(entry)
            same = (recorded.protocol, recorded.operation) == (asked.protocol, asked.operation)
            return (
                (not entry.waits_for) * 1.0
                + entry.comes_after(caller) * 1.0
                + (entry.call.at == at) * 0.5
                + same * 0.5
                + (recorded.model == asked.model) * 0.1
                + recorded.similarity(asked)
            )

        return max((entry for entry in self.entries if not entry.asked), key=nearness, default=None)


class Script:
    """Choice of the recorded call that answers a request, or the call of a tool. Threads may share it.

    A request takes the first unused entry with the same request, preferably one with the same path. If the recorded
    program made one call after another, all calls that had ended before the entry was recorded must have been made.
    If it had concurrent tasks, only the calls of spans that it had waited for must have been made. The first request
    without an answer is stored and raised again for each later one, since frameworks catch exceptions and continue.

    Args:
        cassette: The recording.
        ignore: Dotted paths, and patterns of texts, that do not count.
        ends_at: The number of the last call that must be made. Later ones may be made, and an unknown request then
            raises `EndOfRecording`.
    """

    def __init__(
        self, cassette: Cassette, *, ignore: Sequence[str | re.Pattern[str]] = (), ends_at: int | None = None
    ) -> None:
        self._lock = threading.Lock()
        self._reader = RequestReader(ignore, only_traced=cassette.made_from is not None)
        pairing = Pairing()
        self._models = _Answers(
            sorted(cassette.interactions, key=lambda one: one.call), lambda one: self._reader.read(one.request), pairing
        )
        self._models.order(lambda one: one.call, lambda one: one.waited_for if one.task else one.after)
        by_name: dict[str, list[ToolCall]] = {}
        for call in cassette.tools:
            by_name.setdefault(call.name, []).append(call)
        self._tools = {name: _Answers(known, self._tool_request, pairing) for name, known in by_name.items()}
        self._ends_at = ends_at
        self._is_of_trace = cassette.made_from is not None
        self._first: Divergence | None = None
        self._last_asked = 0

    @property
    def divergence(self) -> Divergence | None:
        """The first request without an answer; None so far."""
        return self._first

    def take(
        self,
        made: RecordedRequest | ToolCall,
        *,
        at: str,
        caller: Caller | None = None,
        instead: Callable[[Interaction], Interaction | None] = lambda _: None,
    ) -> Any:
        """Return the recorded call that answers a request or is a tool call, and mark it as used.

        If `instead` returns another answer to the recorded call, that is returned, and the recorded one stays unused.

        Args:
            made: The request, or the tool call, whose arguments are without secrets, as in the cassette.
            at: Its path.
            caller: The task that makes the call.
            instead: Returns another answer to a recorded model call.

        Returns:
            The recorded call; None if the cassette has no call of that tool.

        Raises:
            Divergence: No call answers this request, or an earlier one had no answer.
            EndOfRecording: No call answers, and all calls up to `ends_at` were made.
        """
        with self._lock:
            known, asked, call_id = self._read(made)
            if known is None:
                return None
            if self._first is not None:
                raise self._first.again()
            entry = known.fitting(asked, at, caller, call_id)
            if entry is not None:
                other = instead(entry.call) if known is self._models else None
                return other or self._taken(known, entry, asked)
            if (failed := self._failed_before(asked)) is not None:
                return failed
            self._first = self._refusal(known, asked, at, caller)
            raise self._first.again()

    def take_known(self, made: RecordedRequest | ToolCall, *, at: str, caller: Caller | None = None) -> Any:
        """Return the recorded call, as `take` does, but None instead of an error."""
        with self._lock:
            known, asked, call_id = self._read(made)
            entry = None if known is None else known.fitting(asked, at, caller, call_id)
            return None if known is None or entry is None else self._taken(known, entry, asked)

    def were_made(self, numbers: Collection[int]) -> bool:
        """Return whether all recorded calls with these numbers were made."""
        with self._lock:
            return all(entry.asked for entry in self._models.entries if entry.call.call in numbers)

    def forget(self) -> None:
        """Forget the divergence, because its request is answered in another way."""
        with self._lock:
            self._first = None

    def nearest(
        self,
        request: RecordedRequest,
        *,
        at: str,
        instead: Callable[[Interaction], Interaction | None] | None = None,
    ) -> Interaction | None:
        """Return the entry that is nearest to an unknown request, and mark it as used; None if every one was used.

        With `instead`, return its result for the entry, which stays unused. The divergence is forgotten, unless the
        result is None.
        """
        with self._lock:
            asked = self._reader.read(request)
            entry = self._models.fitting(asked, at, None) or self._models.nearest(asked, at, None)
            if entry is None:
                return None
            found = self._taken(self._models, entry, asked) if instead is None else instead(entry.call)
            self._first = self._first if found is None else None
            return found

    def never_made(
        self, *, among: Collection[int] | None = None, tools: Callable[[str], bool] = lambda _: False
    ) -> Divergence | None:
        """Return the divergence of calls that were never made; None if there was another divergence before.

        With `among`, only calls with these numbers count. Tool calls count only for tools that `tools` accepts. If
        the recording may end before its last call, no tool calls count.
        """
        with self._lock:
            if self._first is not None:
                return None
            due = [one for one in self._models.entries if self._is_due(one)]
            left = [self._place(self._models, one) for one in due if among is None or one.call.call in among]
            if left:
                what = f"{numbers_text([one.call for one in left])} of {len(self._models.entries)}"
                return never_made(left, what=what, are_tools=False)
            left = [
                self._place(known, one)
                for name, known in self._tools.items()
                if self._ends_at is None and tools(name)
                for one in known.entries
                if not one.asked
            ]
            return never_made(left, what=left[0].what, are_tools=True) if left else None

    def _read(self, made: RecordedRequest | ToolCall) -> tuple[_Answers[Any] | None, ModelRequest, str | None]:
        """Return the recorded calls that may answer, the request in the form that is compared, and the model's id."""
        if isinstance(made, ToolCall):
            return self._tools.get(made.name), self._tool_request(made), made.call_id
        return self._models, self._reader.read(made), None

    def _tool_request(self, call: ToolCall) -> ModelRequest:
        return ModelRequest(_TOOL, call.name, None, (self._reader.arguments(clean(dict(call.arguments))),))

    def _failed_before(self, asked: ModelRequest) -> Interaction | None:
        """Return the call that failed, for its retry: a trace has one span for all attempts of a client."""
        for entry in self._models.entries if self._is_of_trace else ():
            has_failed = entry.asked and not 200 <= entry.call.answer.status < 400
            if has_failed and self._models.request(entry).key == asked.key:
                return entry.call
        return None

    def _taken(self, known: _Answers[_Call], entry: _Entry[_Call], asked: ModelRequest) -> _Call:
        if isinstance(entry.call, Interaction):
            self._last_asked = entry.call.call
        return known.taken(entry, asked)

    def _is_due(self, entry: _Entry[Interaction]) -> bool:
        return not entry.asked and (self._ends_at is None or entry.call.call <= self._ends_at)

    def _refusal(self, known: _Answers[Any], asked: ModelRequest, at: str, caller: Caller | None) -> Divergence:
        """Return the reason why no entry answers a request."""
        if self._ends_at is not None and not any(map(self._is_due, self._models.entries)):
            raise EndOfRecording(f"the program makes more requests than were recorded up to call {self._ends_at}")
        key = asked.key
        same = [entry for entry in known.entries if known.request(entry).key == key]
        early = next((entry for entry in same if not entry.asked), None)
        if early is not None:
            missing = [entry for entry in known.entries if not entry.asked and early in entry.followers]
            return came_before(self._place(known, early), [self._place(known, entry) for entry in missing])
        twin = self._place(known, same[0]) if same else None
        nearest = known.nearest(asked, at, caller)
        is_tool, of = asked.protocol == _TOOL, len(known.entries)
        if nearest is None:
            place = self._named(asked, of + 1, of=None, where=where(at, asked))
            return nothing_left(place, of=f"{counted(of, 'call')}{' of it' if is_tool else ''}", twin=twin)
        return changed(
            self._place(known, nearest),
            known.request(nearest),
            asked,
            at=at if at != nearest.call.at else "",
            others=() if is_tool else [entry.call.call for entry in known.entries if entry.asked],
            twin=twin,
        )

    def _place(self, known: _Answers[Any], entry: _Entry[Any]) -> Place:
        """Return the description of an entry, with its ordinal among similar ones."""
        request, at = known.request(entry), entry.call.at
        index = known.entries.index(entry)
        similar = sum(where(one.call.at, known.request(one)) == where(at, request) for one in known.entries[:index])
        number = getattr(entry.call, "call", index + 1)
        source = getattr(entry.call, "source", "")
        return self._named(request, number, of=len(known.entries), where=where(at, request, similar + 1), source=source)

    def _named(self, request: ModelRequest, number: int, *, of: int | None, where: str, source: str = "") -> Place:
        if request.protocol == _TOOL:
            what = f"tool {request.operation}, {ordinal(number)} call"
            return Place(call=self._last_asked, what=what, where=where)
        what = f"call {number}" if of is None else f"call {number} of {of}"
        return Place(call=number, what=what, where=where, source=source)
