"""A trace or part of it as Markdown, for an issue or a model."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pandaprobe_otel.local.pages.rendering import duration
from pandaprobe_otel.local.pages.trace_facts import error_of, tokens_of
from pandaprobe_otel.local.pages.tree import Node, Tree
from pandaprobe_otel.mapping.outcomes import outcome_in


def markdown_of(trace: Mapping[str, Any], tree: Tree, span_id: str | None) -> str:
    """Return a trace, or the subtree of one of its spans, as Markdown."""
    chosen = tree.node(span_id)
    head = trace_heading(trace, tree) if chosen is None else part_heading(trace)
    nodes: Sequence[Node] = tree.rows if chosen is None else _subtree(chosen)
    base = nodes[0].depth if nodes else 0
    return (head + "".join(span_block(node, node.depth - base) for node in nodes)).rstrip() + "\n"


def trace_heading(trace: Mapping[str, Any], tree: Tree) -> str:
    """Return the text above the spans of a whole trace."""
    lines = [f"# Trace: {_line(trace['name'])}", "", f"- id: `{trace['trace_id']}`", f"- status: {_status(trace)}"]
    lines += [f"- started: {trace['started_at']}", f"- duration: {duration(tree.length_ms)}", ""]
    return _joined([*lines, *_payload("Input", trace["input"]), *_payload("Output", trace["output"])])


def part_heading(trace: Mapping[str, Any]) -> str:
    """Return the text above the spans of a part."""
    return _joined([f"# Part of trace {_line(trace['name'])} (`{trace['trace_id']}`)", ""])


def _subtree(root: Node) -> list[Node]:
    found: list[Node] = []
    waiting = [root]
    while waiting:
        node = waiting.pop()
        found.append(node)
        waiting.extend(reversed(node.children))
    return found


def span_block(node: Node, depth: int = 0) -> str:
    """Return one span without its descendants. `depth` sets the level of its heading."""
    span = node.span
    level = "#" * min(2 + depth, 6)
    lines = [f"{level} {span['kind']} {_line(span['name'])}", ""]
    facts = [f"started +{duration(node.begin_ms)}", f"took {duration(span['latency_ms'])}"]
    if span["model"]:
        facts.append(f"model `{_line(span['model'])}`")
    if (tokens := tokens_of(span)) is not None:
        facts.append(f"tokens {tokens[0]} + {tokens[1]}")
    if span["status"] == "ERROR":
        facts.append("**ERROR**")
    if (outcome := outcome_in(span)) is not None:
        facts.append(f"**{outcome}**")
    lines += ["- " + ", ".join(facts), ""]
    if span["error"]:
        lines += _payload("Error", error_of(span))
    return _joined([*lines, *_payload("Input", span["input"]), *_payload("Output", span["output"])])


def _status(trace: Mapping[str, Any]) -> str:
    outcome = outcome_in(trace)
    return str(trace["status"]) if outcome is None else f"{trace['status']}, {outcome}"


def _joined(lines: Sequence[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _payload(title: str, value: Any) -> list[str]:
    if value is None:
        return []
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=2)
    fence = "```"
    while fence in text:
        fence += "`"
    return [f"{title}:", "", fence + ("" if isinstance(value, str) else "json"), text, fence, ""]


def _line(text: str) -> str:
    return " ".join(text.split())
