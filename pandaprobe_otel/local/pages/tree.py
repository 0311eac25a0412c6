"""The spans of a trace as a tree on one time axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

Record = Mapping[str, Any]


@dataclass(slots=True, kw_only=True)
class Node:
    """A span in the tree. Times are milliseconds from the beginning of the axis; children are in order of start."""

    span: Record
    depth: int = 0
    begin_ms: float = 0.0
    end_ms: float = 0.0
    first_token_ms: float | None = None
    orphan: bool = False
    critical: bool = False
    self_ms: float = 0.0
    children: list[Node] = field(default_factory=list["Node"])

    @property
    def id(self) -> str:
        """The span's id."""
        value: str = self.span["span_id"]
        return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """The roots, every node in the order in which it is shown, and the length of the axis in milliseconds."""

    roots: Sequence[Node]
    rows: Sequence[Node]
    length_ms: float

    def node(self, span_id: str | None) -> Node | None:
        """Return the node of a span."""
        return next((node for node in self.rows if node.id == span_id), None)

    def ancestors(self, node: Node) -> list[Node]:
        """Return the way from the root to a node, without the node."""
        by_id = {other.id: other for other in self.rows}
        way: list[Node] = []
        current = node
        while current.depth > 0:
            current = by_id[current.span["parent_span_id"]]
            way.append(current)
        return way[::-1]


def build_tree(spans: Sequence[Record]) -> Tree:
    """Return the tree of a trace's spans (ordered by start), with its critical path marked.

    A span whose parent is missing, or that is its own ancestor, is a root: nothing is left out.
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
    return Tree(roots=roots, rows=rows, length_ms=length)


def _going_in_circles(nodes: Mapping[str, Node]) -> set[str]:
    """Return the ids of the nodes from which following parents never comes to an end."""
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
    origin = min(_ms(node.span["started_at"]) for node in rows)
    for node in rows:
        node.begin_ms = _ms(node.span["started_at"]) - origin
        node.end_ms = node.begin_ms + max(node.span["latency_ms"] or 0.0, 0.0)
        wait = node.span["time_to_first_token_ms"]
        node.first_token_ms = None if wait is None else node.begin_ms + max(wait, 0.0)
    for node in rows:
        node.self_ms = max(node.end_ms - node.begin_ms - _covered(node), 0.0)
    return max(node.end_ms for node in rows)


def _covered(node: Node) -> float:
    """Return how long at least one child was running within the node's own time."""
    covered, reached = 0.0, node.begin_ms
    for child in sorted(node.children, key=lambda one: one.begin_ms):
        begin, end = max(child.begin_ms, reached), min(child.end_ms, node.end_ms)
        if end > begin:
            covered += end - begin
            reached = end
    return covered


def _mark_critical_path(roots: Sequence[Node]) -> None:
    """Mark the spans that the trace waited for: from the end backwards, always what ended last before."""
    waiting: list[tuple[Sequence[Node], float]] = [(roots, float("inf"))]
    while waiting:
        siblings, until = waiting.pop()
        for node in sorted(siblings, key=lambda one: (one.end_ms, one.begin_ms), reverse=True):
            if node.end_ms > until:
                continue  # still running when the next critical span began: nobody waited for its end
            node.critical = True
            waiting.append((node.children, node.end_ms))
            until = node.begin_ms


def _ms(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp() * 1000
