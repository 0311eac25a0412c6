"""The spans of a trace as a tree on one time axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

Record = Mapping[str, Any]


@dataclass(slots=True, kw_only=True)
class Node:
    """A span in the tree. `start` and `width` are per cent of the trace's length; `children` are in order of start."""

    span: Record
    depth: int = 0
    start: float = 0.0
    width: float = 0.0
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


def build_tree(spans: Sequence[Record]) -> Tree:
    """Return the tree of a trace's spans (ordered by start).

    A span whose parent is missing, or that is its own ancestor, is a root: nothing is left out.
    """
    nodes = {span["span_id"]: Node(span=span) for span in spans}
    roots: list[Node] = []
    for node in nodes.values():
        parent = nodes.get(node.span["parent_span_id"] or "")
        if parent is None or _leads_to(nodes, parent, node.id):
            roots.append(node)
        else:
            parent.children.append(node)
    rows = _flattened(roots)
    return Tree(roots=roots, rows=rows, length_ms=_place(rows))


def _leads_to(nodes: Mapping[str, Node], node: Node, wanted: str) -> bool:
    """Whether following parents from a node comes to the wanted one (or goes in circles)."""
    seen: set[str] = set()
    current: Node | None = node
    while current is not None:
        if current.id == wanted or current.id in seen:
            return True
        seen.add(current.id)
        current = nodes.get(current.span["parent_span_id"] or "")
    return False


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
    starts = [_ms(node.span["started_at"]) for node in rows]
    lengths = [max(node.span["latency_ms"] or 0.0, 0.0) for node in rows]
    origin = min(starts)
    total = max(start + length for start, length in zip(starts, lengths, strict=True)) - origin
    for node, start, length in zip(rows, starts, lengths, strict=True):
        node.start = 100 * (start - origin) / total if total else 0.0
        node.width = 100 * length / total if total else 100.0
    return total


def _ms(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp() * 1000
