"""The memory of a scope of Reflect that an app leaves open."""

from __future__ import annotations

from typing import Any

from opentelemetry.sdk.trace import TracerProvider

from pandaprobe_otel.compat.reflect import MOST_NOTED, ReflectClient, _Scopes
from spans import CHAT


class _Official:
    """A stand-in for the official SDK's client, which has no traces and is also the scope that it returns."""

    trace_ids: tuple[str, ...] = ()
    overflow = False

    def capture_traces(self, **_: Any) -> _Official:
        """Return the scope."""
        return self

    def __enter__(self) -> _Official:
        return self

    def __exit__(self, *_: object) -> None:
        """Do nothing."""


def test_a_scope_remembers_a_bounded_number_of_traces() -> None:
    """A scope remembers a bounded number of traces; beyond this number, `overflow` is set and no trace is collected."""
    scopes, provider = _Scopes("agent", 1.0), TracerProvider()
    provider.add_span_processor(scopes)
    handle: Any = None
    tracer = provider.get_tracer("app")
    with ReflectClient(_Official(), handle, scopes).capture_traces(max_traces=10**9) as scope:
        for _ in range(MOST_NOTED):
            tracer.start_span("GET /").end()
        assert not scope.overflow
        tracer.start_span("chat", attributes=CHAT).end()

        assert scope.overflow
        assert scope.trace_ids == []
        assert len(scopes._open) == len(scope._ours) == MOST_NOTED
    assert not scopes._open
