"""Playback of a cassette: each recorded call is used once, and not before the calls that it had waited for."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pandaprobe_otel.mapping.clean import clean
from pandaprobe_otel.replay.call_order import Caller, strangeness
from pandaprobe_otel.replay.canonical import Ignored, Piece, digest_of, meaning_of
from pandaprobe_otel.replay.differences import Difference, Pairing, differences
from pandaprobe_otel.replay.divergence import (
    Divergence,
    EndOfRecording,
    Place,
    came_before,
    changed,
    never_made,
    nothing_left,
    tool_changed,
    tool_once_more,
    tools_never_called,
    where,
)
from pandaprobe_otel.replay.interactions import Cassette, Interaction, RecordedRequest, ToolCall
from pandaprobe_otel.replay.request_keys import ModelRequest, RequestReader


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


@dataclass(slots=True, eq=False)
class _Entry:
    """A recorded call and its state."""

    interaction: Interaction
    waits_for: int = 0
    """Number of calls that must be made before this one."""
    followers: list[_Entry] = field(default_factory=list["_Entry"])
    """Entries that wait for this one."""
    asked: bool = False
    request: ModelRequest | None = None
    """None until it is needed: an entry is parsed when all of its predecessors were made."""


class Script:
    """Choice of the recorded call that answers a request. Threads may share it.

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
        self._pairing = Pairing()
        self._tools = ToolScript(cassette.tools, pairing=self._pairing, ignore=ignore)
        self._entries = [_Entry(one) for one in sorted(cassette.interactions, key=lambda one: one.call)]
        self._ends_at = ends_at
        self._is_of_trace = cassette.made_from is not None
        self._ready: list[_Entry] = []
        self._by_key: dict[str, list[_Entry]] = {}
        self._first: Divergence | None = None
        self._last_asked = 0
        self._join()

    @property
    def divergence(self) -> Divergence | None:
        """The first request without an answer; None so far."""
        return self._first

    def take(
        self,
        request: RecordedRequest,
        *,
        at: str,
        caller: Caller | None = None,
        instead: Callable[[Interaction], Interaction | None] = lambda _: None,
    ) -> Interaction:
        """Return the recorded call that answers a request, and mark it as used.

        If `instead` returns another answer to the recorded call, that is returned, and the recorded one stays unused.

        Raises:
            Divergence: No call answers this request, or an earlier one had no answer.
            EndOfRecording: No call answers, and all calls up to `ends_at` were made.
        """
        with self._lock:
            self._raise_first()
            asked = self._reader.read(request)
            entry = self._answering(asked, at, caller)
            if entry is None and (failed := self._failed_before(asked)) is not None:
                return failed.interaction
            if entry is None:
                raise self._kept(self._refusal(asked, at, caller))
            return instead(entry.interaction) or self._taken(entry, asked)

    def take_known(self, request: RecordedRequest, *, at: str, caller: Caller | None = None) -> Interaction | None:
        """Return the recorded call that answers a request, as `take` does, but None instead of an error."""
        with self._lock:
            asked = self._reader.read(request)
            entry = self._answering(asked, at, caller)
            return None if entry is None else self._taken(entry, asked)

    def take_tool(self, made: ToolCall, *, caller: Caller | None = None) -> ToolCall | None:
        """Return the recorded tool call with these arguments; None if the cassette has no call of that tool.

        Args:
            made: The call that the program makes. Its arguments are without secrets, as in the cassette.
            caller: The task that makes the call.

        Raises:
            Divergence: The tool was recorded with other arguments, or less often.
            EndOfRecording: As for `Divergence`, but after all model calls up to `ends_at` were made.
        """
        with self._lock:
            if not self._tools.knows(made.name):
                return None
            self._raise_first()
            found = self._tools.take(made, caller=caller)
            if found is not None:
                return found
            self._end()
            raise self._kept(self._tools.refusal(made, after=self._last_asked))

    def take_known_tool(self, made: ToolCall, *, caller: Caller | None = None) -> ToolCall | None:
        """Return the recorded tool call, as `take_tool` does, but None instead of an error."""
        with self._lock:
            return self._tools.take(made, caller=caller)

    def were_made(self, calls: Collection[int]) -> bool:
        """Return whether all recorded calls with these numbers were made."""
        with self._lock:
            return all(entry.asked for entry in self._entries if entry.interaction.call in calls)

    def instead_of_nearest(
        self, request: RecordedRequest, *, at: str, instead: Callable[[Interaction], Interaction | None]
    ) -> Interaction | None:
        """Return what `instead` returns for the entry that is nearest to an unknown request, which stays unused."""
        with self._lock:
            asked = self._reader.read(request)
            entry = self._answering(asked, at, None) or self._nearest(asked, at, None)
            return None if entry is None else instead(entry.interaction)

    def forget(self) -> None:
        """Forget the divergence, because its request is answered in another way."""
        with self._lock:
            self._first = None

    def nearest(self, request: RecordedRequest, *, at: str) -> Interaction | None:
        """Return the entry that is nearest to a request and mark it as used, for a user who accepts the change.

        The divergence is then resolved and forgotten. None: every entry has been used.
        """
        with self._lock:
            asked = self._reader.read(request)
            entry = self._answering(asked, at, None) or self._nearest(asked, at, None)
            if entry is None:
                return None
            self._first = None
            return self._taken(entry, asked)

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
            due = [entry for entry in self._entries if self._is_due(entry)]
            left = [self._place(entry) for entry in due if among is None or entry.interaction.call in among]
            if left:
                return never_made(left)
            never_called = [] if self._ends_at is not None else self._tools.never_called(tools)
            return tools_never_called(never_called, after=self._last_asked) if never_called else None

    def _join(self) -> None:
        """Note for each entry which other entries wait for it."""
        by_number: dict[int, list[_Entry]] = {}
        for entry in self._entries:
            by_number.setdefault(entry.interaction.call, []).append(entry)
        for entry in self._entries:
            call = entry.interaction
            for before in (
                one for number in (call.waited_for if call.task else call.after) for one in by_number.get(number, ())
            ):
                before.followers.append(entry)
                entry.waits_for += 1
        self._ready = [entry for entry in self._entries if not entry.waits_for]

    def _request(self, entry: _Entry) -> ModelRequest:
        if entry.request is None:
            entry.request = self._reader.read(entry.interaction.request)
        return entry.request

    def _answering(self, asked: ModelRequest, at: str, caller: Caller | None) -> _Entry | None:
        """Return an unused entry with the same request; in a sequential program, one whose predecessors were made.

        An entry with the same ids has priority, since concurrent requests may differ in nothing else; then one that
        followed the last call of the same task.
        """
        for entry in self._ready:
            self._by_key.setdefault(self._request(entry).key, []).append(entry)
        self._ready = []
        fitting = self._by_key.get(asked.key, [])
        if len(fitting) < 2:
            return fitting[0] if fitting else None
        ids = asked.ids
        return min(
            fitting,
            key=lambda one: (
                self._pairing.strangeness(self._request(one).ids, ids),
                caller is None or not _follows(one, caller),
                *strangeness(caller, task=one.interaction.task, at=one.interaction.at, here=at),
                one.interaction.call,
            ),
        )

    def _failed_before(self, asked: ModelRequest) -> _Entry | None:
        """Return the entry of a call that failed, for its retry: a trace has one span for all attempts of a client."""
        if not self._is_of_trace:
            return None
        return next(
            (
                one
                for one in self._entries
                if one.asked and not 200 <= one.interaction.answer.status < 400 and self._request(one).key == asked.key
            ),
            None,
        )

    def _taken(self, entry: _Entry, asked: ModelRequest) -> Interaction:
        recorded = self._request(entry)
        entry.asked = True
        self._last_asked = entry.interaction.call
        self._pairing.learn(recorded.ids, asked.ids)
        fitting = self._by_key.get(recorded.key, [])
        if entry in fitting:
            fitting.remove(entry)
        for follower in entry.followers:
            follower.waits_for -= 1
            if not (follower.waits_for or follower.asked):
                self._ready.append(follower)
        return entry.interaction

    def _raise_first(self) -> None:
        if self._first is not None:
            raise self._first.again()

    def _kept(self, divergence: Divergence) -> Divergence:
        self._first = divergence
        return divergence.again()

    def _is_due(self, entry: _Entry) -> bool:
        return not entry.asked and (self._ends_at is None or entry.interaction.call <= self._ends_at)

    def _end(self) -> None:
        if self._ends_at is not None and not any(map(self._is_due, self._entries)):
            raise EndOfRecording(f"the program makes more requests than were recorded up to call {self._ends_at}")

    def _refusal(self, asked: ModelRequest, at: str, caller: Caller | None) -> Divergence:
        """Return the reason why no entry answers a request."""
        self._end()
        key = asked.key
        same = [entry for entry in self._entries if self._request(entry).key == key]
        early = next((entry for entry in same if not entry.asked), None)
        if early is not None:
            missing = [self._place(entry) for entry in self._entries if not entry.asked and early in entry.followers]
            return came_before(self._place(early), missing)
        twin = next(iter(same), None)
        nearest = self._nearest(asked, at, caller)
        if nearest is None:
            return nothing_left(asked, at=at, of=len(self._entries), twin=self._place(twin) if twin else None)
        return changed(
            self._place(nearest),
            self._request(nearest),
            asked,
            at=at if at != nearest.interaction.at else "",
            others=[entry.interaction.call for entry in self._entries if entry.asked],
            twin=twin.interaction.call if twin else None,
        )

    def _nearest(self, asked: ModelRequest, at: str, caller: Caller | None) -> _Entry | None:
        left = [entry for entry in self._entries if not entry.asked]
        return max(left, key=lambda one: self._nearness(one, asked, at, caller), default=None)

    def _nearness(self, entry: _Entry, asked: ModelRequest, at: str, caller: Caller | None) -> float:
        """Return the likelihood that a request was meant to be this entry. Its order counts most, then its path."""
        recorded = self._request(entry)
        same = (recorded.protocol, recorded.operation) == (asked.protocol, asked.operation)
        return (
            (not entry.waits_for) * 1.0
            + (caller is not None and _follows(entry, caller)) * 1.0
            + (entry.interaction.at == at) * 0.5
            + same * 0.5
            + (recorded.model == asked.model) * 0.1
            + recorded.similarity(asked)
        )

    def _place(self, entry: _Entry) -> Place:
        """Return the description of an entry, with its ordinal among similar ones."""
        mine = where(entry.interaction.at, self._request(entry))
        before = self._entries[: self._entries.index(entry)]
        number = 1 + sum(where(one.interaction.at, self._request(one)) == mine for one in before)
        return Place(
            call=entry.interaction.call,
            of=len(self._entries),
            where=where(entry.interaction.at, self._request(entry), number),
            source=entry.interaction.source,
        )


def _follows(entry: _Entry, caller: Caller) -> bool:
    """Return whether an entry came directly after the last call of this task, which does not decide for others."""
    return entry.interaction.task == 0 or caller.last == entry.interaction.follows
