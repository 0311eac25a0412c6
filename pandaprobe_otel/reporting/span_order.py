"""Spans of a trace in the order of its tree."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

T = TypeVar("T")


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
