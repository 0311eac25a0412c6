"""Numbers of spans, durations and tokens, in short form."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Final, cast

from pandaprobe_otel.traces.records import SpanRecord

KINDS: Final = ("llm", "tool", "agent", "retriever", "chain", "embedding")


def kind_of(span: SpanRecord) -> str:
    """Return the kind of a span in lower case; `other` for an unknown kind, which may be any text."""
    kind = span.kind.lower()
    return kind if kind in KINDS else "other"


def path_of(span: SpanRecord) -> list[SpanRecord]:
    """Return the spans from the root to a span, including it."""
    return [span, *span.above][::-1]


def duration_text(span: SpanRecord) -> str:
    """Return the duration of a span: `12ms`, `3.0s`; `running` without an end."""
    return "running" if span.duration_ms is None else seconds_text(span.duration_ms / 1000)


def seconds_text(seconds: float) -> str:
    """Return seconds as `12ms` or `3.0s`."""
    return f"{seconds * 1000:.0f}ms" if abs(seconds) < 1 else f"{seconds:.1f}s"


def usage_text(span: SpanRecord) -> str:
    """Return the tokens of a model call as `2914→85t`; empty if unknown."""
    return "" if span.usage is None else "{}→{}t".format(*span.usage)


def ranges(numbers: Iterable[int]) -> Iterator[str]:
    """Yield ascending numbers as `#3` and `#5–#9`."""
    found = list(numbers)
    if not found:
        return
    first = found[0]
    for before, after in pairwise([*found, None]):
        if after is None or after != cast("int", before) + 1:
            yield f"#{first}" if first == before else f"#{first}–#{before}"
            first = after or 0


def some_ranges(numbers: Iterable[int], most: int = 8) -> str:
    """Return the first ranges of numbers, and the number of the others."""
    found = list(ranges(numbers))
    return ", ".join(found[:most]) + (f" and {len(found) - most} more" if len(found) > most else "")
