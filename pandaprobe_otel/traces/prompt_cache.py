"""Why was the prompt cache missed? The first change between consecutive model calls of a conversation.

Providers cache the beginning of a request: its tools, its system prompt and its messages, up to the first difference
from an earlier request to the same model. A call is compared with the earlier call that it continues. Calls of another
agent, of another model, after a compaction of the history or after the cache has expired begin anew by intention, and
are told apart from changes that nobody intended.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from pandaprobe_otel.traces.conversation import Message, as_messages, shared_start
from pandaprobe_otel.traces.json_shapes import compact_json, items, members
from pandaprobe_otel.traces.records import SpanRecord, TraceRecord
from pandaprobe_otel.traces.text import one_line

SHORTEST_PROMPT: Final = 1024
"""Tokens below which no provider caches a prompt."""
LIFETIME_US: Final = 300_000_000
"""Microseconds for which a cached prompt is kept after its last use, by default at Anthropic, at least at OpenAI."""
_COMPARED: Final = 50
"""Earlier calls that a call may continue."""
_SYSTEM: Final = ("system", "developer")
_SAME_SYSTEM: Final = 0.6
"""Share of common words from which two system prompts are versions of one."""
_COMPACTED: Final = 0.7
"""Share of the earlier request's length below which a shorter history was compacted."""
_NEGLIGIBLE: Final = 0.1
"""Share of a request whose change is no break: a message that is meant to be replaced stands at the end."""
_READ: Final = 0.5
"""Share of the unchanged tokens from which a call counts as a reader of the cache, which counts in blocks."""
_CONTINUED: Final = (True, 1.0, True)
"""Rank of a call whose model, messages and system prompt are all in the later one: no other can have a higher one."""
_AROUND: Final = 30
_SHOWN: Final = 100
_WORDS: Final = 20
"""Most words of a change."""

_MONTH: Final = "(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*"
_TIMES: Final = re.compile(
    r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?)?(Z|[+-]\d\d:?\d\d)?|\b\d{1,2}:\d\d(:\d\d(\.\d+)?)?( ?[ap]m)?\b"
    r"|\b\d{1,2}[./]\d{1,2}[./]\d{2,4}\b|\b1[5-9]\d{8}(\d{3})?(\.\d+)?\b|\b(mon|tues|wednes|thurs|fri|satur|sun)day\b"
    rf"|\b{_MONTH} \d{{1,2}}(st|nd|rd|th)?\b|\b\d{{1,2}}\.? {_MONTH}\b",
    re.IGNORECASE,
)
_IDS: Final = re.compile(
    r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b|\b(?=[a-z_-]*\d)[0-9a-z_-]{12,}\b", re.IGNORECASE
)
_NUMBER: Final = re.compile(r"\d+(\.\d+)?%?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """The first difference between a request and the one that it continues.

    Attributes:
        region: `tools`, `system prompt`, or `message 3 (user)`.
        cause: Such as `a time`, `an id`, `reordered`, `inserted`, `removed` or `edited`.
        old: The changed part before, with some text around it.
        new: The changed part now.
    """

    region: str
    cause: str
    old: str
    new: str

    def __str__(self) -> str:
        return f"{self.region}: {self.cause}: {one_line(self.old)!r} became {one_line(self.new)!r}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheFault:
    """A model call that missed the prompt cache although nobody intended it.

    Attributes:
        span: The call.
        earlier: The call that it continues.
        lost_tokens: Tokens that were paid in full although the earlier call had sent them.
        change: The first difference from the earlier request; None: it begins as that one does, but was not read.
    """

    span: SpanRecord
    earlier: SpanRecord
    lost_tokens: int
    change: Change | None

    def __str__(self) -> str:
        why = self.change or "the request begins as before: is caching enabled?"
        cost = f"{self.lost_tokens:,} of {prompt_tokens(self.span) or 0:,} prompt tokens paid again"
        return f"{one_line(self.span.name)} [{self.span.number}]: {cost}; {why}"


def cache_faults(traces: Iterable[TraceRecord]) -> list[CacheFault]:
    """Return the calls that missed the prompt cache without an intention, the most expensive first.

    Only the newest 100 calls are compared, since the histories of all are as long as the square of their number.
    """
    calls: list[_Call] = []
    faults: list[CacheFault | None] = []
    latest: dict[str | None, _Call] = {}
    for span in _model_calls(traces)[-_SHOWN:]:
        agent = next((above.name for above in span.above if above.kind == "AGENT"), None)
        call = latest[agent] = _Call(span, agent, latest.get(agent))
        earlier = _continued(call, calls[-_COMPARED:])
        faults.append(None if earlier is None else _fault(earlier, call))
        calls.append(call)
    return sorted(filter(None, faults), key=lambda fault: -fault.lost_tokens)


def cache_share(traces: Iterable[TraceRecord]) -> float | None:
    """Return the share of prompt tokens that were read from the cache. None: no call states its tokens."""
    calls = [call for call in _model_calls(traces) if prompt_tokens(call)]
    total = sum(prompt_tokens(call) or 0 for call in calls)
    return sum(map(cached_tokens, calls)) / total if total else None


def _model_calls(traces: Iterable[TraceRecord]) -> list[SpanRecord]:
    calls = [span for trace in traces for span in trace.spans if span.kind == "LLM"]
    return sorted(calls, key=lambda span: span.begin_us)


def prompt_tokens(span: SpanRecord) -> int | None:
    """Return the tokens of a call's request; None if the span states none."""
    return None if span.usage is None else span.usage[0]


def cached_tokens(span: SpanRecord) -> int:
    """Return the tokens that a call read from the cache."""
    cached = members(span.body.get("token_usage")).get("cache_read_tokens")
    return cached if isinstance(cached, int) else 0


class _Call:
    """The request of a model call in the order in which it is cached: tools, system prompt, messages."""

    def __init__(self, span: SpanRecord, agent: str | None, before: _Call | None) -> None:
        """Read a call. It mostly repeats the messages of the call `before` it, which are read once."""
        self.span = span
        self.agent = agent
        self.tools = items(span.metadata.get("tools"))
        self.prompt_tokens, self.cached_tokens = prompt_tokens(span), cached_tokens(span)
        self._given = items(members(span.input).get("messages"))
        known = 0 if before is None else shared_start(before._given, self._given)
        fresh = as_messages({"messages": self._given[known:]} if known else span.input, "user")
        self._read: list[tuple[str, str]] = [] if before is None else before._read[:known]
        self._read += [(message.role, _content_of(message)) for message in fresh]
        self.system_count = [*(role in _SYSTEM for role, _ in self._read), False].index(False)
        self.system = "\n".join(text for _, text in self._read[: self.system_count])
        self.messages = self._read[self.system_count :]

    @cached_property
    def known(self) -> frozenset[tuple[str, str]]:
        return frozenset(self.messages)

    @cached_property
    def words(self) -> frozenset[str]:
        return frozenset(self.system.split())

    @cached_property
    def lengths(self) -> list[int]:
        """Characters of the tools, of the system prompt, and of each message."""
        tools = len(compact_json(self.tools)) if self.tools else 0
        return [tools, len(self.system), *(len(role) + len(text) for role, text in self.messages)]


def _content_of(message: Message) -> str:
    """Return all that a provider reads of a message, except its role."""
    if not message.calls and not message.extra and message.answers is None:
        return message.text
    calls = [[call.name, call.arguments, call.id] for call in message.calls]
    return f"{message.text}{compact_json([calls, message.extra, message.answers])}"


def _continued(call: _Call, earlier: Sequence[_Call]) -> _Call | None:
    """Return the call whose conversation, or whose agent, this one continues: the one with most of its messages.

    One message alone, such as the question that an agent passes to its sub-agents, makes no conversation.
    """
    best: tuple[tuple[bool, float, bool], _Call] | None = None
    for other in reversed(earlier):
        if other.agent != call.agent or other.span.end_us > call.span.begin_us:  # in parallel: nothing is cached yet
            continue
        common = sum(message in call.known for message in other.messages)
        alike = len(other.words & call.words) >= _SAME_SYSTEM * len(other.words | call.words)
        if not alike and common < 2:
            continue
        rank = (other.span.model == call.span.model, common / max(len(other.messages), 1), alike)
        if best is None or rank > best[0]:
            best = rank, other
        if rank == _CONTINUED:
            break
    return None if best is None else best[1]


def _fault(earlier: _Call, call: _Call) -> CacheFault | None:
    """Return the fault of a call that continues an earlier one; None if the cache was read, or missed for a reason."""
    if earlier.span.model != call.span.model or call.span.begin_us - earlier.span.end_us > LIFETIME_US:
        return None
    change, kept = _compared(earlier, call)
    sent = earlier.prompt_tokens if earlier.prompt_tokens is not None else sum(earlier.lengths) // 4
    reach = min(sent, call.prompt_tokens if call.prompt_tokens is not None else sent)
    unchanged = int(sent * kept)
    if reach < SHORTEST_PROMPT:
        return None
    if call.prompt_tokens is not None and call.cached_tokens >= reach * (1 - _NEGLIGIBLE):
        return None
    is_new = change is not None and change.region.startswith("message") and call.known.isdisjoint(earlier.known)
    if change is None or is_new or 1 - kept <= _NEGLIGIBLE:
        if call.prompt_tokens is None or unchanged < SHORTEST_PROMPT or call.cached_tokens >= unchanged * _READ:
            return None
        change, reach = None, min(unchanged, reach)
    elif sum(call.lengths[2:]) < _COMPACTED * sum(earlier.lengths[2:]) and earlier.system == call.system:
        return None
    lost = max(reach - call.cached_tokens, 0)
    return CacheFault(span=call.span, earlier=earlier.span, lost_tokens=lost, change=change)


def _compared(earlier: _Call, call: _Call) -> tuple[Change | None, float]:
    """Return the first change, and the share of the earlier request before it."""
    if (change := _changed_tools(earlier.tools, call.tools)) is not None:
        return change, 0.0
    pairs = [(("", earlier.system), ("", call.system)), *zip(earlier.messages, call.messages, strict=False)]
    for at, (old, new) in enumerate(pairs):
        if old != new:
            kept = sum(earlier.lengths[: at + 1]) + _common(old[1], new[1])
            if at == 0:
                change = _changed_text("system prompt", old[1], new[1])
            else:
                change = _changed_message(earlier, call, at - 1)
            return change, kept / max(sum(earlier.lengths), 1)
    return None, 1.0  # a request that is shorter than the earlier one repeats its beginning


def _changed_tools(old: Sequence[Any], new: Sequence[Any]) -> Change | None:
    if old == new or not (old and new):  # a call without tools may be one whose tools were not recorded
        return None
    before, now = ({_tool_name(tool): compact_json(tool) for tool in tools} for tools in (old, new))
    if before == now:
        return Change(region="tools", cause="reordered", old=", ".join(before), new=", ".join(now))
    for name in now:
        if before.get(name, now[name]) != now[name]:
            return _changed_text(f"tools: {name}", before[name], now[name])
    gone, added = sorted(before.keys() - now.keys()), sorted(now.keys() - before.keys())
    cause = "replaced" if gone and added else "removed" if gone else "added"
    return Change(region="tools", cause=cause, old=", ".join(gone), new=", ".join(added))


def _tool_name(tool: Any) -> str:
    record = members(tool)
    return str(members(record.get("function")).get("name") or record.get("name") or compact_json(tool))


def _changed_message(earlier: _Call, call: _Call, at: int) -> Change:
    old, new = earlier.messages[at : at + 3], call.messages[at : at + 3]
    is_removed = old[1:] == new[:2] and len(old) > 1
    region = f"message {at + 1 + call.system_count} ({(old if is_removed else new)[0][0]})"
    if old[:2] == new[1:]:
        return Change(region=region, cause="inserted", old="", new=new[0][1])
    if is_removed:
        return Change(region=region, cause="removed", old=old[0][1], new="")
    return _changed_text(region, old[0][1], new[0][1])


def _changed_text(region: str, old: str, new: str) -> Change:
    """Return the first changed words of a text, and what kind of words they are."""
    start = _common(old, new)
    while start and not old[start - 1].isspace():  # the whole word
        start -= 1
    lead = old[max(start - _AROUND, 0) : start]
    before, now = (text[start:].split(None, _WORDS + 3) for text in (old, new))
    end = next((at for at in range(1, _WORDS) if before[at : at + 2] == now[at : at + 2]), _WORDS)
    near = lead.split()[-2:]  # a date is several words, of which one changes
    cause = _cause(*(" ".join([*near, *words[: end + 2]]) for words in (before, now)))
    return Change(region=region, cause=cause, old=lead + " ".join(before[:end]), new=lead + " ".join(now[:end]))


def _cause(old: str, new: str) -> str:
    for cause, pattern in (("a time", _TIMES), ("an id", _IDS), ("a number", _NUMBER)):
        if pattern.search(old) and pattern.search(new) and pattern.sub("", old) == pattern.sub("", new):
            return cause
    return "edited"


def _common(old: str, new: str) -> int:
    """Return the number of characters with which both begin."""
    low, high = 0, min(len(old), len(new))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if old[low:middle] == new[low:middle] else (low, middle - 1)
    return low
