"""Why was the prompt cache missed? The first change between consecutive model calls of a conversation.

Providers cache the beginning of a request: its tools, its system prompt and its messages, up to the first difference
from an earlier request to the same model. A call is compared with the earlier call that it continues. Calls of another
agent, of another model, after a compaction of the history or after the cache has expired begin anew by intention, and
are told apart from changes that nobody intended.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from functools import cached_property
from typing import Any, Final, Literal

from pandaprobe_otel.traces.conversation import Message, as_messages, shared_start
from pandaprobe_otel.traces.json_shapes import compact_json, items, members
from pandaprobe_otel.traces.records import SpanRecord, TraceRecord
from pandaprobe_otel.traces.text import one_line

Verdict = Literal["first", "read", "changed", "missed", "compacted", "expired", "other model", "too short"]

SHORTEST_PROMPT: Final = 1024
"""Tokens below which no provider caches a prompt."""
LIFETIME_US: Final = 300_000_000
"""Microseconds for which a cached prompt is kept after its last use, by default at Anthropic, at least at OpenAI."""
_COMPARED: Final = 50
"""Earlier calls that a call may continue."""
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
_WORDS: Final = 300
"""Words in which the end of the first change is looked for: it takes quadratic time."""

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
class CacheUse:
    """One model call and what it could read from the prompt cache.

    Attributes:
        span: The call.
        earlier: The call that it continues; None for the first one of a conversation.
        verdict: `first`; `read`: the beginning was unchanged; `changed`: `change` made the cache useless from there on;
            `missed`: unchanged, but not read; `compacted`, `expired`, `other model`, `too short`: nothing to read, for
            a reason that is not a fault.
        prompt_tokens: Tokens of the request; None if the span states none.
        cached_tokens: Those that were read from the cache.
        lost_tokens: Tokens that were paid in full although the earlier call had sent them.
        change: The first difference, for `changed`.
    """

    span: SpanRecord
    earlier: SpanRecord | None
    verdict: Verdict
    prompt_tokens: int | None
    cached_tokens: int
    lost_tokens: int = 0
    change: Change | None = None

    @property
    def is_fault(self) -> bool:
        """True if the cache was missed without an intention."""
        return self.verdict in ("changed", "missed")

    def __str__(self) -> str:
        why = self.change or "the request begins as before: is caching enabled?"
        cost = f"{self.lost_tokens:,} of {self.prompt_tokens or 0:,} prompt tokens paid again"
        return f"{one_line(self.span.name)} [{self.span.number}]: {cost}; {why}"


def cache_uses(traces: Iterable[TraceRecord], *, newest: int | None = None) -> list[CacheUse]:
    """Return the use of the prompt cache by each model call of the traces, or by the newest of them."""
    spans = [span for trace in traces for span in trace.spans if span.kind == "LLM"]
    spans.sort(key=lambda span: span.begin_us)
    calls: list[_Call] = []
    latest: dict[str | None, _Call] = {}
    for span in spans if newest is None else spans[-newest:]:
        agent = next((above.name for above in span.above if above.kind == "AGENT"), None)
        calls.append(_Call(span, agent, latest.get(agent)))
        latest[agent] = calls[-1]
    return [_use(call, _continued(call, calls[max(at - _COMPARED, 0) : at])) for at, call in enumerate(calls)]


def cache_faults(traces: Sequence[TraceRecord]) -> list[CacheUse]:
    """Return the calls that missed the prompt cache without an intention, the most expensive first.

    Only the newest 100 calls are compared, since the histories of all are as long as the square of their number.
    """
    return sorted((use for use in cache_uses(traces, newest=_SHOWN) if use.is_fault), key=lambda use: -use.lost_tokens)


def cache_share(uses: Iterable[CacheUse]) -> float | None:
    """Return the share of prompt tokens that were read from the cache. None: no call states its tokens."""
    known = [use for use in uses if use.prompt_tokens]
    total = sum(use.prompt_tokens or 0 for use in known)
    return sum(use.cached_tokens for use in known) / total if total else None


class _Call:
    """The request of a model call in the order in which it is cached: tools, system prompt, messages."""

    def __init__(self, span: SpanRecord, agent: str | None, before: _Call | None) -> None:
        """Read a call. It mostly repeats the messages of the call `before` it, which are read once."""
        self.span = span
        self.agent = agent
        usage = members(span.body.get("token_usage"))
        self.prompt_tokens = span.usage[0] if span.usage is not None else None
        cached = usage.get("cache_read_tokens")
        self.cached_tokens = cached if isinstance(cached, int) else 0
        self._given = items(members(span.input).get("messages"))
        known = 0 if before is None else shared_start(before._given, self._given)
        repeated = (before.all_messages[:known], before._texts[:known]) if before is not None else ((), ())
        fresh = as_messages({"messages": self._given[known:]} if known else span.input, "user")
        read = [replace(one, reasoning=()) if one.reasoning else one for one in fresh]
        texts = [f"{message.role}: {_content_of(message)}" for message in read]
        self.all_messages: tuple[Message, ...] = (*repeated[0], *read)
        self._texts: tuple[str, ...] = (*repeated[1], *texts)

    @cached_property
    def tools(self) -> Sequence[Any]:
        return items(self.span.metadata.get("tools"))

    @cached_property
    def system_count(self) -> int:
        roles = [message.role in ("system", "developer") for message in self.all_messages]
        return [*roles, False].index(False)

    @cached_property
    def system(self) -> str:
        return "\n".join(map(_content_of, self.all_messages[: self.system_count]))

    @cached_property
    def messages(self) -> tuple[Message, ...]:
        return self.all_messages[self.system_count :]

    @cached_property
    def texts(self) -> tuple[str, ...]:
        return self._texts[self.system_count :]

    @cached_property
    def counted(self) -> Counter[str]:
        return Counter(self.texts)

    @cached_property
    def words(self) -> frozenset[str]:
        return frozenset(self.system.split())

    @cached_property
    def lengths(self) -> tuple[int, int, list[int]]:
        """Characters of the tools, the system prompt and each message."""
        tools = len(compact_json(self.tools)) if self.tools else 0
        return tools, len(self.system), [len(text) + 1 for text in self.texts]

    @property
    def length(self) -> int:
        tools, system, messages = self.lengths
        return tools + system + sum(messages)


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
        common = sum(text in call.counted for text in other.texts)
        same_system = other.system == call.system or _similarity(other.words, call.words) >= _SAME_SYSTEM
        if not same_system and common < 2:
            continue
        rank = (other.span.model == call.span.model, common / max(len(other.messages), 1), same_system)
        if best is None or rank > best[0]:
            best = rank, other
        if rank == _CONTINUED:
            break
    return None if best is None else best[1]


def _similarity(left: frozenset[str], right: frozenset[str]) -> float:
    return len(left & right) / len(left | right) if left or right else 0.0


def _use(call: _Call, earlier: _Call | None) -> CacheUse:
    tokens, cached = call.prompt_tokens, call.cached_tokens
    use = CacheUse(span=call.span, earlier=None, verdict="first", prompt_tokens=tokens, cached_tokens=cached)
    if earlier is None:
        return use
    use = replace(use, earlier=earlier.span)
    if earlier.span.model != call.span.model:
        return replace(use, verdict="other model")
    change, kept = _compared(earlier, call)
    sent = earlier.prompt_tokens if earlier.prompt_tokens is not None else earlier.length // 4
    reach = min(sent, call.prompt_tokens if call.prompt_tokens is not None else sent)
    lost = max(reach - call.cached_tokens, 0)
    if reach < SHORTEST_PROMPT:
        return replace(use, verdict="too short")
    unchanged = int(sent * kept)
    if call.prompt_tokens is not None and call.cached_tokens >= reach * (1 - _NEGLIGIBLE):
        return replace(use, verdict="read")
    is_new = call.counted.keys().isdisjoint(earlier.counted)
    if change is not None and 1 - kept > _NEGLIGIBLE and not (is_new and change.region.startswith("message")):
        if _is_compacted(earlier, call):
            return replace(use, verdict="compacted")
        if _gap(earlier, call) > LIFETIME_US:
            return replace(use, verdict="expired")
        return replace(use, verdict="changed", lost_tokens=lost, change=change)
    if call.prompt_tokens is None or unchanged < SHORTEST_PROMPT or call.cached_tokens >= unchanged * _READ:
        return replace(use, verdict="read" if unchanged >= SHORTEST_PROMPT else "too short")
    if _gap(earlier, call) > LIFETIME_US:
        return replace(use, verdict="expired")
    return replace(use, verdict="missed", lost_tokens=max(min(unchanged, reach) - call.cached_tokens, 0))


def _gap(earlier: _Call, call: _Call) -> int:
    return call.span.begin_us - earlier.span.end_us


def _is_compacted(earlier: _Call, call: _Call) -> bool:
    """Return whether the history became much shorter: most of its messages are gone, or a summary replaces them."""
    before, now = sum(earlier.lengths[2]), sum(call.lengths[2])
    return now < before * _COMPACTED and earlier.system == call.system


def _compared(earlier: _Call, call: _Call) -> tuple[Change | None, float]:
    """Return the first change, and the share of the earlier request before it."""
    tools, system, messages = earlier.lengths
    whole = max(earlier.length, 1)
    if (change := _changed_tools(earlier.tools, call.tools)) is not None:
        return change, 0.0
    if earlier.system != call.system:
        at = _common(earlier.system, call.system)
        return _changed_text("system prompt", earlier.system, call.system), (tools + at) / whole
    for number, (old, new) in enumerate(zip(earlier.texts, call.texts, strict=False)):
        if old != new:
            kept = tools + system + sum(messages[:number]) + _common(old, new)
            return _changed_message(earlier, call, number), kept / whole
    return None, 1.0  # a request that is shorter than the earlier one repeats its beginning


def _changed_tools(old: Sequence[Any], new: Sequence[Any]) -> Change | None:
    if old == new or not (old and new):  # a call without tools may be one whose tools were not recorded
        return None
    before, now = map(_named, (old, new))
    if before == now:
        return Change(region="tools", cause="reordered", old=", ".join(_order(old)), new=", ".join(_order(new)))
    for name in now:
        if before.get(name, now[name]) != now[name]:
            return _changed_text(f"tools: {name}", before[name], now[name])
    gone, added = sorted(before.keys() - now.keys()), sorted(now.keys() - before.keys())
    cause = "replaced" if gone and added else "removed" if gone else "added"
    return Change(region="tools", cause=cause, old=", ".join(gone), new=", ".join(added))


def _order(tools: Sequence[Any]) -> list[str]:
    return [_tool_name(tool) for tool in tools]


def _named(tools: Sequence[Any]) -> Mapping[str, str]:
    return {_tool_name(tool): compact_json(tool) for tool in tools}


def _tool_name(tool: Any) -> str:
    record = members(tool)
    return str(members(record.get("function")).get("name") or record.get("name") or compact_json(tool))


def _changed_message(earlier: _Call, call: _Call, at: int) -> Change:
    old, new = earlier.texts, call.texts
    number = at + 1 + call.system_count
    region = f"message {number} ({call.messages[at].role})"
    if old[at : at + 2] == new[at + 1 : at + 3]:
        return Change(region=region, cause="inserted", old="", new=new[at])
    if old[at + 1 : at + 3] == new[at : at + 2] and len(old) > at + 1:
        return Change(region=f"message {number} ({earlier.messages[at].role})", cause="removed", old=old[at], new="")
    return _changed_text(region, old[at], new[at])


def _changed_text(region: str, old: str, new: str) -> Change:
    """Return the first changed words of a text, and what kind of words they are."""
    start = _common(old, new)
    while start and not old[start - 1].isspace():  # the whole word
        start -= 1
    before, now = old[start:].split()[:_WORDS], new[start:].split()[:_WORDS]
    codes = SequenceMatcher(None, before, now, autojunk=False).get_opcodes()
    _, a, b, c, d = next((code for code in codes if code[0] != "equal"), ("", 0, len(before), 0, len(now)))
    lead = old[max(start - _AROUND, 0) : start]
    near = lead.split()[-2:]  # a date is several words, of which one changes
    cause = _cause(" ".join([*near, *before[a : b + 2]]), " ".join([*near, *now[c : d + 2]]))
    return Change(region=region, cause=cause, old=lead + " ".join(before[a:b]), new=lead + " ".join(now[c:d]))


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
