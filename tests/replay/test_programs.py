"""Ten programs, recorded and replayed without an endpoint: same results and span trees, and no tool runs."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

import pandaprobe_otel
import replayed_programs
from conformance.libraries import litellm as litellm_wire
from pandaprobe_otel.capture.tracers import use_tracer_provider
from pandaprobe_otel.demo.scripted_endpoint import ScriptedEndpoint
from pandaprobe_otel.registry import instrument, uninstrument
from pandaprobe_otel.replay.cassette import load
from provider_server import ProviderServer
from replayed_programs import DONE, PROGRAMS, Program
from span_recorder import SpanRecorder

pytestmark = [pytest.mark.filterwarnings(text) for text in litellm_wire.ADAPTERS[0].warns]


@contextmanager
def endpoint(program: Program) -> Iterator[str]:
    """Yield the URL of a program's model."""
    if program.answers is None:
        with ScriptedEndpoint(replayed_programs.script) as scripted:
            yield scripted.url
    else:
        with ProviderServer() as server:
            server.script = program.answers()
            yield server.url


@contextmanager
def traced(program: Program, recorder: SpanRecorder) -> Iterator[None]:
    """Instrument a program with a recorder."""
    with ExitStack() as stack:
        use_tracer_provider(recorder.provider)
        stack.callback(use_tracer_provider, None)
        for name in program.integrations:
            assert instrument(name, tracer_provider=recorder.provider).state == "hooked"
            stack.callback(uninstrument, name)
        yield


def told(recorder: SpanRecorder) -> list[Any]:
    """Return the spans with their parents, in an order that does not depend on time."""
    found = [
        (
            str(recorder.parent_of(span)),
            span.name,
            span.status.status_code.name,
            sorted((key, str(value)) for key, value in (span.attributes or {}).items() if "time" not in key),
        )
        for span in recorder.spans
    ]
    return sorted(found)


def run(program: Program, url: str, path: Path, recorder: SpanRecorder) -> tuple[Any, list[Any], list[str]]:
    """Run a program in a recording; return its result, its spans, and the effects of its tools."""
    recorder.clear()
    DONE.clear()
    with traced(program, recorder), pandaprobe_otel.recording(path, tools=True):
        result = program.run(url)
    return result, told(recorder), list(DONE)


def _no_connection(*arguments: Any, **options: Any) -> Any:
    raise AssertionError("a connection was opened")


def _no_waiting(seconds: float) -> None:
    assert seconds <= 0.01, "a client waits before a retry"


@pytest.fixture
def recorded(request: pytest.FixtureRequest, recorder: SpanRecorder, tmp_path: Path) -> Any:
    """Return a recorded program's result, spans and effects, a function that replays it, and the cassette's path."""
    program = PROGRAMS[request.param]
    path = tmp_path / "cassette.yaml"
    with endpoint(program) as url:
        live = run(program, url, path, recorder)

    def replay() -> Any:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(socket.socket, "connect", _no_connection)
            patch.setattr(asyncio.BaseEventLoop, "sock_connect", _no_connection)
            patch.setattr("time.sleep", _no_waiting)
            return run(program, url, path, recorder)

    return live, replay, path


@pytest.mark.parametrize("recorded", PROGRAMS, indirect=True)
def test_a_program_is_replayed(recorded: Any) -> None:
    """The replay has the same result and spans, without the endpoint, and no tool runs."""
    (result, spans, done), replay, path = recorded
    assert result
    assert spans
    assert replay() == (result, spans, [])
    assert len(load(path).tools) == len(done)


@pytest.mark.outer
@pytest.mark.exhaustive
@pytest.mark.parametrize("recorded", PROGRAMS, indirect=True)
def test_a_program_is_replayed_again_and_again(recorded: Any) -> None:
    """Twenty replays in a row are equal."""
    (result, spans, _), replay, _ = recorded
    for _ in range(20):
        assert replay() == (result, spans, [])
