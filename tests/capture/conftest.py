"""Fixtures for tests that record the decorators' spans and must not log anything."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
from opentelemetry.context import Context, attach, detach
from opentelemetry.trace import ProxyTracerProvider

from pandaprobe_otel.capture.tracers import use_tracer_provider
from span_recorder import SpanRecorder, recording


@pytest.fixture
def recorder() -> Iterator[SpanRecorder]:
    """Record the decorators' spans, in an empty context."""
    token = attach(Context())
    with recording() as recorder:
        yield recorder
    detach(token)


@pytest.fixture
def nobody() -> Iterator[None]:
    """Act as an app without tracing, regardless of other tests of this process."""
    use_tracer_provider(ProxyTracerProvider())
    yield
    use_tracer_provider(None)


@pytest.fixture(autouse=True)
def silence(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Fail a test in which this library or OpenTelemetry logs an unexpected warning."""
    with caplog.at_level(logging.WARNING):
        yield
    loud = [record.getMessage() for record in caplog.records if record.name.startswith(("opentelemetry", "pandaprobe"))]
    assert loud == []
