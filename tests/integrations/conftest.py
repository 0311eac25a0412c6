from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from importlib.metadata import version
from typing import Any, Final
from unittest.mock import patch

import pytest
from botocore.loaders import JSONFileLoader
from opentelemetry.context import get_current

from library_members import drop_clients
from pandaprobe_otel.registry import instrumented, uninstrument
from pandaprobe_otel_integrations._streams import open_bodies
from provider_server import ProviderServer
from span_recorder import SpanRecorder

_DESCRIPTIONS: Final[dict[str, Any]] = {}
_MAKERS: Final = ("google.genai._gaos.utils.serializers", "mistralai.client.utils.serializers")


@contextmanager
def _models_made_once() -> Iterator[None]:
    """Cache the pydantic classes that Speakeasy's clients make again for each value that they write or read.

    The classes of a type are all alike, and making them takes nine tenths of a call's time.
    """
    with ExitStack() as stack:
        for name in _MAKERS:
            try:
                module = import_module(name)
            except ImportError:
                continue
            stack.enter_context(patch.object(module, "create_model", _kept(module.create_model)))
        # Each client of AWS reads the service's description again, and keeps it: 8 MB.
        stack.enter_context(patch.object(JSONFileLoader, "load_file", _read_once(JSONFileLoader.load_file)))
        yield


def _read_once(read: Callable[[Any, str], Any]) -> Callable[[Any, str], Any]:
    def load_file(self: Any, path: str) -> Any:
        if path not in _DESCRIPTIONS:
            _DESCRIPTIONS[path] = read(self, path)
        return _DESCRIPTIONS[path]

    return load_file


def _kept(make: Callable[..., Any]) -> Callable[..., Any]:
    made: dict[tuple[str, Any], Any] = {}

    def create_model(name: str, **fields: Any) -> Any:
        try:
            key = name, fields["body"]
            if key not in made:
                made[key] = make(name, **fields)
            return made[key]
        except (KeyError, TypeError):  # another kind of class, or a type that is not hashable
            return make(name, **fields)

    return create_model


@pytest.fixture(autouse=True)
def short_collections() -> None:
    """Hide existing objects from the garbage collector, since tests of forgotten streams collect very often."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="module")
def found_at_once() -> Iterator[None]:
    """Drop clients between files, so that they are not found in another file's tests."""
    drop_clients()
    with _models_made_once():
        yield
    drop_clients()


@pytest.fixture(scope="module")
def running_server() -> Iterator[ProviderServer]:
    """Yield a scripted provider on loopback for all tests of a module."""
    with ProviderServer() as server:
        yield server


@pytest.fixture
def server(running_server: ProviderServer) -> ProviderServer:
    """Return the scripted provider, without the requests of earlier tests."""
    running_server.received.clear()
    return running_server


@pytest.fixture
def recorder() -> Iterator[SpanRecorder]:
    """Yield a span recorder that nothing uses yet."""
    made = SpanRecorder()
    yield made
    made.provider.shutdown()


@pytest.fixture(autouse=True)
def nothing_left_behind(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Check after each test that the context is unchanged, no stream is open, and no WARNING or worse was logged."""
    before = get_current()
    open_before = open_bodies.open_count()  # streams of a failed test, held by its traceback
    yield
    gc.collect()
    assert get_current() == before
    assert open_bodies.open_count() == open_before
    logged = [one for one in caplog.get_records("call") if one.levelno >= logging.WARNING and not _is_theirs(one)]
    assert [record.getMessage() for record in logged] == []


@pytest.fixture(autouse=True)
def off_again(nothing_left_behind: None) -> Iterator[None]:
    """Uninstrument all libraries after each test; openai also where its class was used."""
    yield
    for library in {"openai", *(one.name for one in instrumented())}:
        uninstrument(library)


def _is_theirs(record: logging.LogRecord) -> bool:
    """Return whether a client library wrote the record.

    litellm logs each failed attempt, and a worker that outlives a test's event loop. Old versions of cohere leave
    generators of their own behind when an asynchronous stream is left early, with or without us.
    """
    text = record.getMessage()
    if "aclose(): asynchronous generator is already running" in text or "generator ignored GeneratorExit" in text:
        return version("cohere").startswith("5.")
    return record.name.startswith("LiteLLM") or "LoggingWorker" in text
