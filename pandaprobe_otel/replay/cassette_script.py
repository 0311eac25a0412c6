"""A cassette as what answers: each recorded call once, in the order in which calls waited for one another."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pandaprobe_otel.replay.divergence import Divergence, EndOfRecording
from pandaprobe_otel.replay.divergence_kinds import (
    Place,
    came_before,
    changed,
    never_asked,
    nothing_left,
    tools_never_called,
    where,
)
from pandaprobe_otel.replay.interactions import Cassette, Interaction, RecordedRequest, ToolCall
from pandaprobe_otel.replay.pairing import Pairing
from pandaprobe_otel.replay.request_keys import ModelRequest, RequestReader
from pandaprobe_otel.replay.tool_script import ToolScript


@dataclass(slots=True, eq=False)
class _Entry:
    """A recorded call, and how far it has come."""

    interaction: Interaction
    waits_for: int = 0
    """Number of calls that must be asked before it."""
    followers: list[_Entry] = field(default_factory=list["_Entry"])
    asked: bool = False
    request: ModelRequest | None = None
    """None until it is needed: an entry is read when its turn has come."""


class Script:
    """Tells which recorded call answers a request. Threads may share it.

    A request takes the first entry that asks the same and that no other request has taken, one from the same place
    first. All calls that had ended before it was recorded must have been asked; so branches that ran side by side may
    swap, and a summary cannot come before them. The first request that none answers is kept, and raised for each one
    after it: frameworks catch exceptions and go on.

    Args:
        cassette: What was recorded.
        ignore: Dotted paths, and patterns of texts, that count nowhere.
        ends_at: The number of the last call that must be asked. Later ones may be, and a request that is unknown then
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
        self._ready: list[_Entry] = []
        self._by_key: dict[str, list[_Entry]] = {}
        self._first: Divergence | None = None
        self._last_asked = 0
        self._join()

    @property
    def divergence(self) -> Divergence | None:
        """Return the first request that nothing answered; None so far."""
        return self._first

    def take(self, request: RecordedRequest, *, at: str) -> Interaction:
        """Return the recorded call that answers a request, which no other request gets from then on.

        Raises:
            Divergence: None does, or none did to an earlier request.
            EndOfRecording: None does, and all up to `ends_at` were asked.
        """
        with self._lock:
            self._raise_first()
            asked = self._reader.read(request)
            entry = self._answering(asked, at)
            if entry is None:
                raise self._kept(self._refusal(asked, at))
            return self._taken(entry, asked)

    def take_known(self, request: RecordedRequest, *, at: str) -> Interaction | None:
        """Return the recorded call that answers a request, as `take` does; None where that would refuse it."""
        with self._lock:
            asked = self._reader.read(request)
            entry = self._answering(asked, at)
            return None if entry is None else self._taken(entry, asked)

    def take_tool(self, name: str, arguments: Mapping[str, Any], *, at: str) -> ToolCall | None:
        """Return the recorded call of a tool with these arguments; None if the cassette knows no call of that tool.

        Args:
            name: The tool's name.
            arguments: As the cassette would hold them: with their secrets taken out.
            at: The names of the spans around the call.

        Raises:
            Divergence: The tool is known, but not with these arguments, or not so often.
            EndOfRecording: The same, after all model calls up to `ends_at` were asked.
        """
        with self._lock:
            if not self._tools.knows(name):
                return None
            self._raise_first()
            found = self._tools.take(name, arguments, at=at)
            if found is not None:
                return found
            self._end()
            raise self._kept(self._tools.refusal(name, arguments, at=at, after=self._last_asked))

    def take_known_tool(self, name: str, arguments: Mapping[str, Any], *, at: str) -> ToolCall | None:
        """Return the recorded call of a tool, as `take_tool` does; None where that would refuse it."""
        with self._lock:
            return self._tools.take(name, arguments, at=at) if self._tools.knows(name) else None

    def has_asked(self, calls: Collection[int]) -> bool:
        """Tell whether all recorded calls of these numbers were asked."""
        with self._lock:
            return all(entry.asked for entry in self._entries if entry.interaction.call in calls)

    def nearest(self, request: RecordedRequest, *, at: str) -> Interaction | None:
        """Return the entry that is nearest to a request, for who accepts the change: it counts as asked.

        The divergence that it settles is forgotten. None if every entry has been asked.
        """
        with self._lock:
            asked = self._reader.read(request)
            entry = self._answering(asked, at) or self._nearest(asked, at)
            if entry is None:
                return None
            self._first = None
            return self._taken(entry, asked)

    def never_asked(
        self, *, among: Collection[int] | None = None, tools: Callable[[str], bool] = lambda _: False
    ) -> Divergence | None:
        """Return the divergence that calls remain which nobody has asked for; None if there was one before.

        With `among`, only calls of these numbers count. Calls of tools count for those that `tools` says yes to, and
        where all is to be asked: after a call that the recording may end at, no tool need be called.
        """
        with self._lock:
            if self._first is not None:
                return None
            due = [entry for entry in self._entries if self._is_due(entry)]
            left = [self._place(entry) for entry in due if among is None or entry.interaction.call in among]
            if left:
                return never_asked(left)
            never_called = [] if self._ends_at is not None else self._tools.never_called(tools)
            return tools_never_called(never_called, after=self._last_asked) if never_called else None

    def _join(self) -> None:
        """Tell each entry which others wait for it."""
        by_number: dict[int, list[_Entry]] = {}
        for entry in self._entries:
            by_number.setdefault(entry.interaction.call, []).append(entry)
        for entry in self._entries:
            for before in (one for number in set(entry.interaction.after) for one in by_number.get(number, ())):
                before.followers.append(entry)
                entry.waits_for += 1
        self._ready = [entry for entry in self._entries if not entry.waits_for]

    def _request(self, entry: _Entry) -> ModelRequest:
        if entry.request is None:
            entry.request = self._reader.read(entry.interaction.request)
        return entry.request

    def _answering(self, asked: ModelRequest, at: str) -> _Entry | None:
        """Return the entry that asks the same, and whose turn it is.

        Of several, one with the same ids comes first: parallel requests may differ in nothing else.
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
                one.interaction.at != at,
                one.interaction.call,
            ),
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
            if not follower.waits_for and not follower.asked:
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
            raise EndOfRecording(f"the program asks more than was recorded up to call {self._ends_at}")

    def _refusal(self, asked: ModelRequest, at: str) -> Divergence:
        """Return why no entry answers a request."""
        self._end()
        key = asked.key
        same = [entry for entry in self._entries if self._request(entry).key == key]
        early = next((entry for entry in same if not entry.asked), None)
        if early is not None:
            missing = [self._place(entry) for entry in self._entries if early in entry.followers and not entry.asked]
            return came_before(self._place(early), missing)
        twin = next(iter(same), None)
        nearest = self._nearest(asked, at)
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

    def _nearest(self, asked: ModelRequest, at: str) -> _Entry | None:
        left = [entry for entry in self._entries if not entry.asked]
        return max(left, key=lambda one: self._nearness(one, asked, at), default=None)

    def _nearness(self, entry: _Entry, asked: ModelRequest, at: str) -> float:
        """Return how likely an entry is what a request was meant to be: its turn counts most, then its place."""
        recorded = self._request(entry)
        same = (recorded.protocol, recorded.operation) == (asked.protocol, asked.operation)
        return (
            (not entry.waits_for) * 1.0
            + (entry.interaction.at == at) * 0.5
            + same * 0.5
            + (recorded.model == asked.model) * 0.1
            + recorded.similarity(asked)
        )

    def _place(self, entry: _Entry) -> Place:
        """Return what a text says of an entry. Entries before it that are alike count."""
        mine = where(entry.interaction.at, self._request(entry))
        before = self._entries[: self._entries.index(entry)]
        number = 1 + sum(where(one.interaction.at, self._request(one)) == mine for one in before)
        return Place(
            call=entry.interaction.call,
            of=len(self._entries),
            where=where(entry.interaction.at, self._request(entry), number),
            source=entry.interaction.source,
        )
