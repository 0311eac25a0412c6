"""Comparison of two traces: the spans that they share, and the differences between them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
    """The differing ones of input, output, status, error and model."""

    @property
    def slower_by_ms(self) -> float | None:
        """The extra duration of the right span in milliseconds; None unless both ended."""
        if self.left is None or self.right is None:
            return None
        before, after = self.left.span["latency_ms"], self.right.span["latency_ms"]
        return None if before is None or after is None else after - before


@dataclass(frozen=True, slots=True, kw_only=True)
class TextDiff:
    """A line of two texts: in both, only in the left or only in the right one."""

    side: Literal["both", "left", "right"]
    text: str


_COMPARED = ("input", "output", "status", "error", "model")


def diff_trees(left: Tree, right: Tree) -> list[DiffRow]:
    """Return the rows of both trees. Spans of the same name, kind and depth are matched in order."""
    a, b = list(left.rows), list(right.rows)
    matcher = SequenceMatcher(a=[_key(node) for node in a], b=[_key(node) for node in b], autojunk=False)
    rows: list[DiffRow] = []
    for tag, i1, i2, j1, j2 in matcher.get_opcodes():
        if tag == "equal":
            rows += [_pair(x, y) for x, y in zip(a[i1:i2], b[j1:j2], strict=True)]
        else:
            rows += [DiffRow(change="left", left=node, right=None) for node in a[i1:i2]]
            rows += [DiffRow(change="right", left=None, right=node) for node in b[j1:j2]]
    return rows


def diff_payloads(left: Any, right: Any, *, context: int = 3) -> list[TextDiff]:
    """Return the lines of two payloads with their differences; long common parts are reduced to their ends."""
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


def _key(node: Node) -> tuple[str, str, int]:
    return node.span["name"], node.span["kind"], node.depth


def _pair(left: Node, right: Node) -> DiffRow:
    differing = [name for name in _COMPARED if left.span[name] != right.span[name]]
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
