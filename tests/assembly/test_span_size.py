"""The counted size of a waiting span covers everything that the span holds."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.trace import Link, SpanContext

from pandaprobe_otel.mapping.sdk_span import fields_of, size_of

CONTEXT = SpanContext(1, 1, is_remote=False)
ODD: dict[str, Callable[[], dict[str, Any]]] = {
    "attributes without text": lambda: {"attributes": {str(number): "" for number in range(4096)}},
    "numbers": lambda: {"attributes": {str(number): number * 10**6 for number in range(4096)}},
    "events": lambda: {"events": [Event("", {}, 1) for _ in range(4096)]},
    "attributes of events": lambda: {"events": [Event("", {str(number): "" for number in range(4096)}, 1)]},
    "links": lambda: {"links": [Link(SpanContext(1, number + 1, is_remote=False), {}) for number in range(4096)]},
    "a list": lambda: {"attributes": {"k": [number * 1.5 for number in range(100_000)]}},
    "lists in lists": lambda: {"attributes": {"k": [[number * 1.5, "x" * 50] for number in range(50_000)]}},
    "a map": lambda: {"attributes": {"k": {str(number): None for number in range(50_000)}}},
}


@pytest.mark.parametrize("name", ODD)
def test_a_span_is_counted_as_what_it_holds(name: str) -> None:
    """The counted size is within a factor of four of the objects' memory, so that the bound holds in bytes."""
    tracemalloc.start()
    try:
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        span = ReadableSpan("span", CONTEXT, **ODD[name]())
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    counted = size_of(fields_of(span))
    assert taken / 4 < counted < 4 * taken
