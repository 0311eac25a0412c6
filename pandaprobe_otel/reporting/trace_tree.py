"""A trace as a tree for the terminal: kinds, times, tokens and errors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar

from pandaprobe_otel.mapping.outcomes import outcome_in

if TYPE_CHECKING:
    from rich.text import Text
    from rich.tree import Tree

T = TypeVar("T")

_COLOURS: Final = {
    "AGENT": "magenta",
    "LLM": "cyan",
    "TOOL": "yellow",
    "RETRIEVER": "green",
    "EMBEDDING": "green",
    "CHAIN": "blue",
}


def trace_tree(trace: Mapping[str, Any]) -> Tree:
    """Return the tree of a trace in the form of GET /traces/{id}. Spans whose parent is missing are at the top."""
    from rich.text import Text
    from rich.tree import Tree

    spans: Sequence[Mapping[str, Any]] = sorted(trace["spans"], key=lambda span: str(span["started_at"]))
    tree = Tree(Text(f"trace {trace['trace_id']}  {trace['status']}", style="dim").append(_mark(trace)))
    way = [tree]
    for depth, span in by_depth(spans, body=lambda span: span):
        way[depth + 1 :] = [way[depth].add(_label(span))]
    return tree


def _label(span: Mapping[str, Any]) -> Text:
    from rich.text import Text

    label = Text()
    label.append(f"{span['kind']:<6}", style=_COLOURS.get(str(span["kind"]), "white"))
    label.append(f" {span['name']}", style="bold")
    label.append(f"  {duration(span)}", style="dim")
    usage: Mapping[str, Any] = span.get("token_usage") or {}
    if usage:
        label.append(f"  {usage.get('prompt_tokens', 0)} → {usage.get('completion_tokens', 0)} tokens")
    if span.get("model"):
        label.append(f"  {span['model']}", style="dim")
    label.append(_mark(span))
    if span.get("status") == "ERROR":
        label.append(f"  ERROR {span.get('error') or ''}", style="red")
    return label


def _mark(body: Mapping[str, Any]) -> Text:
    """Return the outcome of a span or trace that neither succeeded nor failed."""
    from rich.text import Text

    outcome = outcome_in(body)
    return Text("" if outcome is None else f"  {outcome.replace('_', ' ')}", style="bold yellow")


def duration(span: Mapping[str, Any]) -> str:
    """Return the duration of a span, such as `12 ms` or `1.25 s`; `running` without an end."""
    if not span.get("ended_at"):
        return "running"
    took = _time(span["ended_at"]) - _time(span["started_at"])
    seconds = took.total_seconds()
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"


def _time(value: Any) -> datetime:
    return datetime.fromisoformat(str(value))


def by_depth(spans: Sequence[T], *, body: Callable[[T], Mapping[str, Any]]) -> Iterator[tuple[int, T]]:
    """Yield each span once with its depth, parents before children. A span whose parent is missing is at the top.

    body: returns the fields of a span; only `span_id` and `parent_span_id` are read.
    """
    known = {body(span).get("span_id") for span in spans}
    children: dict[Any, list[T]] = {}
    for span in spans:
        parent = body(span).get("parent_span_id")
        children.setdefault(parent if parent in known else None, []).append(span)
    waiting = [(0, span) for span in reversed(children.pop(None, []))]
    while waiting or children:
        if not waiting:  # the rest is below a span that is its own ancestor; the server accepts such spans
            waiting = [(0, span) for span in reversed(children.pop(next(iter(children))))]
        depth, span = waiting.pop()
        yield depth, span
        # With `pop`, a span that is its own ancestor is shown once, not for ever.
        waiting += [(depth + 1, child) for child in reversed(children.pop(body(span).get("span_id"), []))]
