"""A trace with numbered spans, parents before children, so that a number is a position in the tree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from pandaprobe_otel.compact.fences import inert_value
from pandaprobe_otel.evals.traces import SpanRecord, TraceRecord, walk

KINDS: Final = ("llm", "tool", "agent", "retriever", "chain", "embedding")


@dataclass(frozen=True)
class NumberedSpan:
    """A span with its number from 1, its depth, and the number of its parent (0: none)."""

    number: int
    depth: int
    parent: int
    record: SpanRecord

    @cached_property
    def kind(self) -> str:
        """Kind in lower case; `other` for an unknown kind."""
        kind = self.record.kind.lower()
        return kind if kind in KINDS else "other"

    @property
    def name(self) -> str:
        """Name of the span."""
        return self.record.name

    @property
    def failed(self) -> bool:
        """True if the span ended with an error."""
        return self.record.error is not None


class NumberedTrace:
    """A trace in the form of the API, whose spans have numbers. Its texts are inert (`fences`)."""

    def __init__(self, body: Mapping[str, Any]) -> None:
        self.body: Mapping[str, Any] = inert_value(body)
        self.record = TraceRecord({**self.body, "spans": self.body.get("spans") or []})
        numbers: dict[Any, int] = {}
        spans: list[NumberedSpan] = []
        for number, (depth, span) in enumerate(walk(self.record), 1):
            parent = numbers.get(span.body.get("parent_span_id"), 0) if depth else 0
            numbers.setdefault(span.body.get("span_id"), number)
            spans.append(NumberedSpan(number, depth, parent, span))
        self.spans: Sequence[NumberedSpan] = spans

    def __getitem__(self, number: int) -> NumberedSpan:
        """Return a span by its number."""
        return self.spans[number - 1]

    def path(self, span: NumberedSpan) -> list[NumberedSpan]:
        """Return the spans from the root to a span, including it."""
        found = [span]
        while found[-1].parent:
            found.append(self[found[-1].parent])
        return found[::-1]

    @cached_property
    def origins(self) -> Sequence[NumberedSpan]:
        """Spans that failed without a failing child, which are the origins of failures."""
        passed_on = {span.parent for span in self.spans if span.failed}
        return [span for span in self.spans if span.failed and span.number not in passed_on]

    @cached_property
    def kinds(self) -> Counter[str]:
        """The number of spans of each kind."""
        return Counter(span.kind for span in self.spans)
