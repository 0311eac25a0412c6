"""Numbers of spans, durations and tokens, in short form."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from typing import Any, cast

from pandaprobe_otel.evals.traces import SpanRecord


def duration_text(span: SpanRecord) -> str:
    """Return the duration of a span: `12ms`, `3.0s`; `running` without an end."""
    if not span.body.get("ended_at"):
        return "running"
    return seconds_text((span.ended - span.started).total_seconds())


def seconds_text(seconds: float) -> str:
    """Return seconds as `12ms` or `3.0s`."""
    return f"{seconds * 1000:.0f}ms" if abs(seconds) < 1 else f"{seconds:.1f}s"


def usage_text(span: SpanRecord) -> str:
    """Return the tokens of a model call as `2914→85t`; empty if unknown."""
    told: Any = span.body.get("token_usage")
    usage: Mapping[str, Any] = cast("Mapping[str, Any]", told) if isinstance(told, Mapping) else {}
    counts = [usage.get(name) for name in ("prompt_tokens", "completion_tokens")]
    return f"{counts[0] or 0}→{counts[1] or 0}t" if all(isinstance(one, int | None) for one in counts) and usage else ""


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
