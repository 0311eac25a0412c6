"""Comparison of two traces: which spans correspond, how they differ, and where the runs diverge."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any, Final, Literal

from pandaprobe_otel.traces.behaviour import behaviour_text
from pandaprobe_otel.traces.conversation import as_messages
from pandaprobe_otel.traces.records import SpanRecord, TraceRecord

_COMPARED: Final = ("input", "output", "status", "error", "model")


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanPair:
    """A span of both traces, or of only one.

    `fields` are the differing ones of input, output, status, error and model; `order` for a span at another position.
    """

    before: SpanRecord | None
    after: SpanRecord | None
    fields: tuple[str, ...] = ()

    @property
    def span(self) -> SpanRecord:
        """The span of the earlier trace, or that of the later one if there is no other."""
        span = self.before or self.after
        assert span is not None
        return span

    @property
    def depth(self) -> int:
        """Depth in the later trace, or in the earlier one."""
        return (self.after or self.span).depth

    @property
    def change(self) -> Literal["same", "changed", "left", "right"]:
        """Kind of the change: in both and equal, in both and changed, or in only one."""
        if self.before is None or self.after is None:
            return "right" if self.before is None else "left"
        return "changed" if self.fields else "same"

    @property
    def slower_by_ms(self) -> float | None:
        """The additional duration of the later span in milliseconds; None unless both ended."""
        if self.before is None or self.after is None:
            return None
        before, after = self.before.duration_ms, self.after.duration_ms
        return None if before is None or after is None else after - before


@dataclass(frozen=True, slots=True, kw_only=True)
class TextDiff:
    """A line of two texts: in both, or only in the left or right one."""

    side: Literal["both", "left", "right"]
    text: str


def paired_spans(before: TraceRecord | None, after: TraceRecord | None) -> tuple[SpanPair, ...]:
    """Return the spans of two traces in the order of the tree. Children of two matched spans are aligned by start.

    Spans with the same kind, name and input are matched first, then those with the same kind and name. Siblings that
    ran concurrently in one of the traces have no order. A span without a counterpart is alone, with all of its
    descendants. Ids that a provider gives to calls, which are new in every run, do not count.
    """
    pairs: list[SpanPair] = []
    levels = [_aligned(*(() if trace is None else trace.roots for trace in (before, after)))]
    while levels:  # Not recursive, since traces may be deeper than Python's stack.
        found = next(levels[-1], None)
        if found is None:
            levels.pop()
            continue
        one, other, has_moved = found
        fields = _differing(one, other) if one is not None and other is not None else ()
        pairs.append(SpanPair(before=one, after=other, fields=(*(["order"] if has_moved else []), *fields)))
        levels.append(_aligned(*([] if span is None else span.children for span in (one, other))))
    return tuple(pairs)


def first_difference(traces: Iterable[Sequence[SpanPair]]) -> SpanPair | None:
    """Return the pair in which two runs diverge: the earliest one that differs by itself.

    A span does not count if only its output differs and a descendant differs too: it then passed the difference on. A
    span that is only shifted in time counts if no other span differs.
    """
    found = [pair for spans in traces for pair in _by_themselves(spans)]
    return min(found, key=lambda pair: (pair.fields == ("order",), pair.span.begin_us), default=None)


def diff_payloads(left: Any, right: Any, *, context: int = 3) -> list[TextDiff]:
    """Return the lines of two payloads with their differences. Long common parts are reduced to their ends."""
    a, b = _lines(left), _lines(right)
    lines: list[TextDiff] = []
    for tag, i1, i2, j1, j2 in SequenceMatcher(a=a, b=b, autojunk=False).get_opcodes():
        if tag == "equal":
            common = a[i1:i2]
            if len(common) > 2 * context + 1:
                skipped = len(common) - 2 * context
                common = [*common[:context], f"⋯ {skipped} lines in common", *common[-context:]]
            lines += [TextDiff(side="both", text=line) for line in common]
        else:
            lines += [TextDiff(side="left", text=line) for line in a[i1:i2]]
            lines += [TextDiff(side="right", text=line) for line in b[j1:j2]]
    return lines


def _by_themselves(spans: Sequence[SpanPair]) -> Iterator[SpanPair]:
    for place, pair in enumerate(spans):
        if pair.change == "same":
            continue
        below = (other for other in spans[place + 1 : _end_of(spans, place)] if other.change != "same")
        if pair.change != "changed" or {"input", "model"} & set(pair.fields) or next(below, None) is None:
            yield pair


def _end_of(spans: Sequence[SpanPair], place: int) -> int:
    depth = spans[place].depth
    after = range(place + 1, len(spans))
    return next((other for other in after if spans[other].depth <= depth), len(spans))


def _differing(before: SpanRecord, after: SpanRecord) -> Iterator[str]:
    for name in _COMPARED:
        one, other = before.body.get(name), after.body.get(name)
        if one != other and behaviour_text({name: one}) != behaviour_text({name: other}):
            yield name


def _aligned(
    left: Sequence[SpanRecord], right: Sequence[SpanRecord]
) -> Iterator[tuple[SpanRecord | None, SpanRecord | None, bool]]:
    """Yield pairs of siblings with a flag for moved ones, and unmatched siblings at their position."""
    partners = dict(_partners(left, right))
    taken = set(partners.values())
    places = {other: place for place, other in enumerate(right)}
    beside = {span for side in (left, right) for group in _together(side) if len(group) > 1 for span in group}
    order = [places[partners[one]] for one in left if one in partners and not {one, partners[one]} & beside]
    moved = set(order)
    for start, _, size in SequenceMatcher(a=order, b=sorted(order), autojunk=False).get_matching_blocks():
        moved.difference_update(order[start : start + size])
    reached = 0
    for one in left:
        other = partners.get(one)
        has_moved = other is not None and places[other] in moved
        until = reached if other is None or has_moved else max(reached, places[other])
        yield from ((None, alone, False) for alone in right[reached:until] if alone not in taken)
        reached = until
        yield one, other, has_moved
    yield from ((None, alone, False) for alone in right[reached:] if alone not in taken)


def _partners(left: Sequence[SpanRecord], right: Sequence[SpanRecord]) -> Iterator[tuple[SpanRecord, SpanRecord]]:
    """Yield pairs of siblings: first those with equal kind, name and input, then those with equal kind and name."""
    for size in (3, 2):
        waiting: dict[tuple[str, ...], list[SpanRecord]] = {}
        for other in reversed(right):
            waiting.setdefault(other.signature[:size], []).append(other)
        pairs = [(one, fitting.pop()) for one in left if (fitting := waiting.get(one.signature[:size]))]
        yield from pairs
        gone = {span for pair in pairs for span in pair}
        left, right = ([span for span in side if span not in gone] for side in (left, right))


def _together(siblings: Sequence[SpanRecord]) -> list[list[SpanRecord]]:
    """Return siblings in groups that ran concurrently."""
    groups: list[list[SpanRecord]] = []
    until = 0
    for span in siblings:
        if not groups or span.begin_us >= until:
            groups.append([])
        groups[-1].append(span)
        until = max(until, span.end_us)
    return groups


def _lines(value: Any) -> list[str]:
    if value is None:
        return []
    text = value if isinstance(value, str) else _conversation(value)
    if text is None:
        text = json.dumps(value, ensure_ascii=False, indent=2)
    return text[:200_000].splitlines()


def _conversation(value: Any) -> str | None:
    lines: list[str] = []
    for message in as_messages(value, "user"):
        if message.text or not message.calls:
            lines.append(f"{message.role}: {message.text}")
        lines += [f"{message.role} → {call.name}({json.dumps(call.arguments)})" for call in message.calls]
    return "\n".join(lines) or None
