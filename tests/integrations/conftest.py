from __future__ import annotations

import gc
import logging
import warnings
from collections.abc import Iterator
from importlib.metadata import version

import pytest
from opentelemetry.context import get_current

from pandaprobe_otel_integrations._streams import open_bodies
from provider_server import ProviderServer
from span_recorder import SpanRecorder


@pytest.fixture(autouse=True)
def short_collections() -> None:
    """Take what is there out of the garbage collector's sight: tests of forgotten streams collect very often."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="module")
def found_at_once() -> Iterator[None]:
    """Find what clients have left open at the end of each file, and not in the midst of another one's tests."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture(scope="module")
def running_server() -> Iterator[ProviderServer]:
    """A loopback provider for all tests of a module."""
    with ProviderServer() as server:
        yield server


@pytest.fixture
def server(running_server: ProviderServer) -> ProviderServer:
    """The loopback provider, with no memory of the tests before."""
    running_server.received.clear()
    return running_server


@pytest.fixture
def recorder() -> Iterator[SpanRecorder]:
    """A span recorder that nothing is attached to yet."""
    made = SpanRecorder()
    yield made
    made.provider.shutdown()


@pytest.fixture(autouse=True)
def nothing_left_behind(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """After each test: the context is as it was, no stream is open, and nothing was logged at WARNING or above."""
    before = get_current()
    open_before = open_bodies.open_count()  # what a test that failed has left, held by its traceback
    yield
    gc.collect()
    assert get_current() == before
    assert open_bodies.open_count() == open_before
    logged = [one for one in caplog.get_records("call") if one.levelno >= logging.WARNING and not _is_theirs(one)]
    assert [record.getMessage() for record in logged] == []


def _is_theirs(record: logging.LogRecord) -> bool:
    """litellm reports each failed attempt, and that its worker outlives the event loop of a test. Old versions of
    cohere leave generators of their own behind when an asynchronous stream is left early, also without us."""
    text = record.getMessage()
    if "aclose(): asynchronous generator is already running" in text or "generator ignored GeneratorExit" in text:
        return version("cohere").startswith("5.")
    return record.name.startswith("LiteLLM") or "LoggingWorker" in text
