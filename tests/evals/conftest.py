"""A local PandaProbe with a scripted judge, and suites that are judged by it."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from pandaprobe_otel.api import Client
from pandaprobe_otel.local import LocalServer
from pandaprobe_otel.registry import instrumented, uninstrument
from suites import RunCommand, RunSuite, Suites


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


@pytest.fixture(scope="package")
def suites() -> Iterator[Suites]:
    """The process that the suites of all tests come from."""
    with closing(Suites()) as made:
        yield made


@pytest.fixture
def run_suite(suites: Suites, tmp_path: Path) -> RunSuite:
    """Runs a suite in the folder of the test."""
    return partial(suites.run, tmp_path)


@pytest.fixture
def run_command(suites: Suites, tmp_path: Path) -> RunCommand:
    """Runs `pandaprobe-otel` in the folder of the test."""
    return partial(suites.command, tmp_path)


@pytest.fixture
def project(server: LocalServer) -> dict[str, str]:
    """The settings that lead to a project of the server that is the test's own."""
    return {
        "PANDAPROBE_ENDPOINT": server.url,
        "PANDAPROBE_API_KEY": f"sk_pp_{uuid.uuid4().hex}",
        "PANDAPROBE_PROJECT_NAME": f"suite-{uuid.uuid4()}",
    }


@pytest.fixture
def project_client(project: dict[str, str]) -> Iterator[Client]:
    """A client of that project."""
    key, name, url = (project[f"PANDAPROBE_{what}"] for what in ("API_KEY", "PROJECT_NAME", "ENDPOINT"))
    with Client(key, name, url, retries=0, timeout_s=60.0) as client:
        yield client


@pytest.fixture
def judged(run_suite: RunSuite, project: dict[str, str]) -> RunSuite:
    """Runs a suite with `--pandaprobe=eval` against the server."""
    return partial(run_suite, **{**project, "PANDAPROBE_PYTEST": "eval"})
