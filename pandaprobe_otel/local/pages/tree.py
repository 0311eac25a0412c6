"""The spans of a trace as a tree on one time axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

Record = Mapping[str, Any]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


@dataclass(slots=True, kw_only=True)
class Node:
    """A span in the tree. Times are relative to the beginning of the axis, and children are ordered by start.

    The store has microseconds, which are integers. With fractions, rounding would decide whether a span that begins at
    the end of another one begins before or after it.
    """

    span: Record
    depth: int = 0
    begin_us: int = 0
    end_us: int = 0
    self_us: int = 0
    first_token_us: int | None = None
    orphan: bool = False
    critical: bool = False
    children: list[Node] = field(default_factory=list["Node"])

    @property
    def id(self) -> str:
        """The span's id."""
        value: str = self.span["span_id"]
        return value

    @property
    def begin_ms(self) -> float:
        """Start of the span in milliseconds."""
        return self.begin_us / 1000

    @property
    def end_ms(self) -> float:
        """End of the span in milliseconds."""
        return self.end_us / 1000

    @property
    def self_ms(self) -> float:
        """Time in which no child is running, in milliseconds."""
        return self.self_us / 1000

    @property
    def first_token_ms(self) -> float | None:
        """Time of the first token in milliseconds; None if unknown."""
        return None if self.first_token_us is None else self.first_token_us / 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """The roots, all nodes in display order, and in milliseconds the length of the trace and of the axis."""

    roots: Sequence[Node]
    rows: Sequence[Node]
    length_ms: float
    axis_ms: float

    def node(self, span_id: str | None) -> Node | None:
        """Return the node of a span."""
        return next((node for node in self.rows if node.id == span_id), None)

    def ancestors(self, node: Node) -> list[Node]:
        """Return the path from the root to a node, without the node."""
        by_id = {other.id: other for other in self.rows}
        way: list[Node] = []
        current = node
        while current.depth > 0:
            current = by_id[current.span["parent_span_id"]]
            way.append(current)
        return way[::-1]


def build_tree(spans: Sequence[Record]) -> Tree:
    """Return the tree of a trace's spans (ordered by start), with its critical path marked.

    A span whose parent is missing, or that is its own ancestor, becomes a root, so that no span is missing.
    """
    nodes: dict[str, Node] = {span["span_id"]: Node(span=span) for span in spans}
    circling = _going_in_circles(nodes)
    roots: list[Node] = []
    for node in nodes.values():
        parent = nodes.get(node.span["parent_span_id"] or "")
        if parent is None or node.id in circling:
            node.orphan = node.span["parent_span_id"] is not None
            roots.append(node)
        else:
            parent.children.append(node)
    rows = _flattened(roots)
    length = _place(rows)
    _mark_critical_path(roots)
    return Tree(roots=roots, rows=rows, length_ms=length, axis_ms=length)


def _going_in_circles(nodes: Mapping[str, Node]) -> set[str]:
    """Return the ids of the nodes whose ancestors form a cycle."""
    ends: dict[str, bool] = {}
    for start in nodes:
        way: dict[str, None] = {}
        current: str = start
        while current in nodes and current not in ends and current not in way:
            way[current] = None
            current = nodes[current].span["parent_span_id"] or ""
        ends_here = current not in nodes or ends.get(current, False)
        ends.update(dict.fromkeys(way, ends_here))
    return {node_id for node_id, ends_here in ends.items() if not ends_here}


def _flattened(roots: Sequence[Node]) -> list[Node]:
    rows: list[Node] = []
    waiting = list(reversed(roots))
    while waiting:
        node = waiting.pop()
        rows.append(node)
        for child in reversed(node.children):
            child.depth = node.depth + 1
            waiting.append(child)
    return rows


def _place(rows: Sequence[Node]) -> float:
    if not rows:
        return 0.0
    starts = [_microseconds(node.span["started_at"]) for node in rows]
    origin = min(starts)
    for node, start in zip(rows, starts, strict=True):
        node.begin_us = start - origin
        node.end_us = node.begin_us + _length(node.span["latency_ms"])
        wait = node.span["time_to_first_token_ms"]
        node.first_token_us = None if wait is None else node.begin_us + _length(wait)
    for node in rows:
        node.self_us = node.end_us - node.begin_us - _covered(node)
    return max(node.end_us for node in rows) / 1000


def _covered(node: Node) -> int:
    """Return the microseconds of the node's own time in which at least one child was running."""
    covered, reached = 0, node.begin_us
    for child in sorted(node.children, key=lambda one: one.begin_us):
        begin, end = max(child.begin_us, reached), min(child.end_us, node.end_us)
        if end > begin:
            covered += end - begin
            reached = end
    return covered


def _mark_critical_path(roots: Sequence[Node]) -> None:
    """Mark the spans that the trace waited for: backwards from the end, always the span that ended last.

    Of several spans that ended at the same moment, the longest one is marked.
    """
    waiting: list[tuple[Sequence[Node], int | None]] = [(roots, None)]
    while waiting:
        siblings, until = waiting.pop()
        for node in sorted(siblings, key=lambda one: (one.end_us, -one.begin_us), reverse=True):
            if until is not None and node.end_us > until:
                continue  # It was still running when the next critical span began, so its end was not waited for.
            node.critical = True
            waiting.append((node.children, node.end_us))
            until = node.begin_us


def _microseconds(moment: str) -> int:
    at = datetime.fromisoformat(moment)
    return (at - _EPOCH if at.tzinfo is not None else at.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND


def _length(milliseconds: float | None) -> int:
    return max(round((milliseconds or 0.0) * 1000), 0)
