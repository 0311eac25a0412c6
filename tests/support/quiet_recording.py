"""Fixtures of tests that record the decorators' spans, and in which nothing may be logged."""

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
    """Act as an app without any tracing, whatever other tests of this process did."""
    use_tracer_provider(ProxyTracerProvider())
    yield
    use_tracer_provider(None)


@pytest.fixture(autouse=True)
def silence(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Fail a test that leaves an unexplained warning of ours or of OpenTelemetry in the log."""
    with caplog.at_level(logging.WARNING):
        yield
    loud = [record.getMessage() for record in caplog.records if record.name.startswith(("opentelemetry", "pandaprobe"))]
    assert loud == []
