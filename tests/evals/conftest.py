"""A local PandaProbe with a scripted judge, and suites that are judged by it."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from pandaprobe_otel.local import LocalServer
from pandaprobe_otel.registry import instrumented, uninstrument
from suites import Judged, Outcome, run_suite


@pytest.fixture(autouse=True)
def process_as_it_was() -> Iterator[None]:
    """A test leaves no library instrumented and no setting behind, for the tests that follow in this process."""
    before = dict(os.environ)
    yield
    left = [result.name for result in instrumented()]
    for name in left:
        uninstrument(name)
    for name in set(os.environ) - set(before) - {"PYTEST_CURRENT_TEST"}:
        del os.environ[name]
    assert left == []


@pytest.fixture(scope="package")
def shared_server() -> Iterator[LocalServer]:
    """A local PandaProbe for all tests of this folder."""
    with LocalServer(limit=None, scripted_judge=True) as server:
        yield server


@pytest.fixture
def server(shared_server: LocalServer) -> LocalServer:
    """The same, with nothing set by an earlier test."""
    shared_server.judge.clear()
    shared_server.faults.clear()
    return shared_server


@pytest.fixture
def judged(server: LocalServer, tmp_path: Path) -> Judged:
    """Runs a suite with `--pandaprobe=eval` against the server, in a project of its own."""
    env = {
        "PANDAPROBE_ENDPOINT": server.url,
        "PANDAPROBE_API_KEY": f"sk_pp_{uuid.uuid4().hex}",
        "PANDAPROBE_PROJECT_NAME": f"suite-{uuid.uuid4()}",
    }

    def run(code: str, *arguments: str, plugins: tuple[str, ...] = (), **more: str) -> Outcome:
        return run_suite(tmp_path, code, "--pandaprobe=eval", *arguments, env={**env, **more}, plugins=plugins)

    return run
