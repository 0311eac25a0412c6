from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from opentelemetry.context import get_current
from opentelemetry.trace import get_current_span

import pandaprobe_otel
from agent_traces import SentTraces
from pandaprobe_otel import bootstrap
from pandaprobe_otel.config.resolve import Config
from pandaprobe_otel.delivery.budget import LeasedBucket
from pandaprobe_otel.demo.scripted_endpoint import ScriptedEndpoint
from pandaprobe_otel.local import LocalServer
from pandaprobe_otel.pipeline.export_pipeline import ExportPipeline


@pytest.fixture(scope="session")
def server() -> Iterator[LocalServer]:
    """A local PandaProbe that receives the traces."""
    with LocalServer(limit=None) as running:
        yield running


@pytest.fixture(scope="session")
def traced(server: LocalServer) -> Iterator[pandaprobe_otel.PandaProbe]:
    """Call `init()` as an app does, without the limit of 100 traces a minute, and with digests of pictures."""
    with pytest.MonkeyPatch.context() as patching:
        patching.setattr(bootstrap, "open_pipeline", _without_limit)
        handle = pandaprobe_otel.init(
            endpoint=server.url,
            api_key=server.api_key,
            project_name="frameworks",
            instrument="auto",
            media="digest",
            strict=True,
        )
    yield handle
    handle.shutdown(5)


def _without_limit(config: Config, *, counts_starts: bool) -> ExportPipeline:
    return ExportPipeline(config, counts_starts=counts_starts, bucket=lambda: LeasedBucket(capacity=10_000))


@pytest.fixture
def traces(server: LocalServer, traced: pandaprobe_otel.PandaProbe) -> SentTraces:
    """The test's traces, read back from the server. A test must request this fixture to be traced."""
    traced.flush(30)  # send what earlier tests have traced and not flushed
    return SentTraces(server, traced)


@pytest.fixture
def model() -> Iterator[Callable[..., ScriptedEndpoint]]:
    """Start scripted models that run until the end of the test."""
    with ExitStack() as running:
        yield lambda script, **options: running.enter_context(ScriptedEndpoint(script, **options))


@pytest.fixture(autouse=True)
def no_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the variable CI, with which recordings refuse live calls."""
    monkeypatch.delenv("CI", raising=False)


@pytest.fixture(autouse=True)
def context_is_as_before() -> Iterator[None]:
    """Check that each test leaves the caller's current span unchanged."""
    before = get_current_span(get_current())
    yield
    assert get_current_span(get_current()) is before
