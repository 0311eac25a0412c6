"""Comparison of two traces: common spans, and the differences between them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from difflib import SequenceMatcher
from typing import Any, Literal

from pandaprobe_otel.local.pages.conversation import as_messages
from pandaprobe_otel.local.pages.tree import Node, Tree

Change = Literal["same", "changed", "left", "right"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DiffRow:
    """A pair of spans, or a span that only one trace has."""

    change: Change
    left: Node | None
    right: Node | None
    fields: Sequence[str] = ()
    """The differing fields among input, output, status, error and model; `order` for a span at another position."""

    @property
    def slower_by_ms(self) -> float | None:
        """The additional duration of the right span in milliseconds; None unless both ended."""
        if self.left is None or self.right is None:
            return None
        before, after = self.left.span["latency_ms"], self.right.span["latency_ms"]
        return None if before is None or after is None else after - before


@dataclass(frozen=True, slots=True, kw_only=True)
class TextDiff:
    """A line of two texts: in both, or only in the left or right one."""

    side: Literal["both", "left", "right"]
    text: str


_COMPARED = ("input", "output", "status", "error", "model")


def diff_trees(left: Tree, right: Tree) -> list[DiffRow]:
    """Return the rows of both trees. Children of two matched spans are aligned by start.

    Spans with the same kind, name and input are matched first, then those with the same kind and name, then those at
    another position. Siblings that ran concurrently in one of the traces have no order. A span without a counterpart is
    alone, with all of its descendants.
    """
    return list(_diff(_nested(left.rows), _nested(right.rows)))


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


@dataclass(frozen=True, slots=True, eq=False)
class _Branch:
    """A span and its descendants."""

    node: Node
    key: tuple[str, str]
    content: str
    below: list[_Branch]


def _nested(rows: Sequence[Node]) -> list[_Branch]:
    """Return rows as a tree, parents before children."""
    top: list[_Branch] = []
    way: list[_Branch] = []
    for node in rows:
        del way[node.depth :]
        span = node.span
        content = json.dumps(span["input"], sort_keys=True, default=str)
        branch = _Branch(node, (span["kind"], span["name"]), content, [])
        (way[-1].below if way else top).append(branch)
        way.append(branch)
    return top


def _diff(left: Sequence[_Branch], right: Sequence[_Branch]) -> Iterator[DiffRow]:
    levels = [_aligned(left, right)]  # Not recursive, since traces may be deeper than Python's stack.
    while levels:
        found = next(levels[-1], None)
        if found is None:
            levels.pop()
            continue
        one, other, has_moved = found
        if one is not None and other is not None:
            yield _pair(one.node, other.node, ("order",) if has_moved else ())
        else:
            yield DiffRow(
                change="right" if one is None else "left",
                left=None if one is None else one.node,
                right=None if other is None else other.node,
            )
        levels.append(_aligned(one.below if one else (), other.below if other else ()))


def _aligned(
    left: Sequence[_Branch], right: Sequence[_Branch]
) -> Iterator[tuple[_Branch | None, _Branch | None, bool]]:
    """Yield pairs of siblings with a flag for moved ones, and unmatched siblings at their position."""
    groups = _together(left), _together(right)
    partners = dict(_partners(*(_without_order(side) for side in groups)))
    beside = {branch for side in groups for group in side if len(group) > 1 for branch in group}
    moved = dict(_moved(left, right, partners))
    taken = {*partners.values(), *moved.values()}
    places = {other: place for place, other in enumerate(right)}
    reached = 0
    for one in left:
        other = partners.get(one)
        until = reached if other is None else max(reached, places[other])
        yield from ((None, alone, False) for alone in right[reached:until] if alone not in taken)
        reached = until
        far = moved.get(one)
        yield one, other or far, far is not None and not {one, far} & beside
    yield from ((None, alone, False) for alone in right[reached:] if alone not in taken)


def _moved(
    left: Sequence[_Branch], right: Sequence[_Branch], partners: Mapping[_Branch, _Branch]
) -> Iterator[tuple[_Branch, _Branch]]:
    """Yield pairs of siblings that match at another position, first those with the same input."""
    taken = set(partners.values())
    ones = [one for one in left if one not in partners]
    others = [other for other in right if other not in taken]
    for by_content in (True, False):
        waiting: dict[tuple[str, ...], list[_Branch]] = {}
        for other in reversed(others):
            waiting.setdefault((*other.key, *([other.content] if by_content else [])), []).append(other)
        found = [
            (one, fitting.pop())
            for one in ones
            if (fitting := waiting.get((*one.key, *([one.content] if by_content else []))))
        ]
        yield from found
        gone = {branch for pair in found for branch in pair}
        ones, others = ([branch for branch in side if branch not in gone] for side in (ones, others))


def _partners(left: Sequence[_Branch], right: Sequence[_Branch]) -> Iterator[tuple[_Branch, _Branch]]:
    whole = [[(*one.key, one.content) for one in side] for side in (left, right)]
    for tag, i1, i2, j1, j2 in SequenceMatcher(a=whole[0], b=whole[1], autojunk=False).get_opcodes():
        if tag == "equal":
            yield from zip(left[i1:i2], right[j1:j2], strict=True)
            continue
        named = [[one.key for one in side] for side in (left[i1:i2], right[j1:j2])]
        for i, j, size in SequenceMatcher(a=named[0], b=named[1], autojunk=False).get_matching_blocks():
            yield from zip(left[i1 + i : i1 + i + size], right[j1 + j : j1 + j + size], strict=True)


def _together(siblings: Sequence[_Branch]) -> list[list[_Branch]]:
    """Return siblings in groups that ran concurrently."""
    groups: list[list[_Branch]] = []
    until: datetime | None = None
    for branch in siblings:
        begin, end = _moment(branch, "started_at"), _moment(branch, "ended_at")
        if begin is None or until is None or begin >= until:
            groups.append([])
            until = None
        groups[-1].append(branch)
        until = end if until is None or (end is not None and end > until) else until
    return groups


def _without_order(groups: Sequence[Sequence[_Branch]]) -> list[_Branch]:
    """Return siblings in an order that does not depend on the first start within a group."""
    return [branch for group in groups for branch in sorted(group, key=lambda one: (*one.key, one.content))]


def _moment(branch: _Branch, name: str) -> datetime | None:
    text = branch.node.span.get(name)
    if not isinstance(text, str):
        return None
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _pair(left: Node, right: Node, also: Sequence[str] = ()) -> DiffRow:
    differing = [*also, *(name for name in _COMPARED if left.span[name] != right.span[name])]
    return DiffRow(change="changed" if differing else "same", left=left, right=right, fields=differing)


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


def totals(trace: Mapping[str, Any], tree: Tree) -> dict[str, float]:
    """Return the totals by which two traces are compared."""
    return {
        "duration_ms": tree.length_ms,
        "spans": len(tree.rows),
        "tokens": trace["total_tokens"],
        "cost": trace["total_cost"],
        "errors": sum(node.span["status"] == "ERROR" for node in tree.rows),
    }
