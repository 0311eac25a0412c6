"""A local PandaProbe server with a scripted judge, and test suites that the server judges."""

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
from provider_server import ProviderServer, Received, Reply, completion
from suites import RunCommand, RunSuite, Suites


@pytest.fixture(autouse=True)
def process_as_it_was() -> Iterator[None]:
    """Remove variables that a test set, and check that no library stays instrumented."""
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
    """Yield the local PandaProbe server of all tests in this folder."""
    with LocalServer(limit=None, scripted_judge=True) as server:
        yield server


@pytest.fixture
def server(shared_server: LocalServer) -> LocalServer:
    """Return the shared server, without the scores and faults that an earlier test set."""
    shared_server.judge.clear()
    shared_server.faults.clear()
    return shared_server


@pytest.fixture(scope="package")
def suites() -> Iterator[Suites]:
    """Yield the process from which the suites of all tests are forked."""
    with closing(Suites()) as made:
        yield made


@pytest.fixture
def run_suite(suites: Suites, tmp_path: Path) -> RunSuite:
    """Return a function that runs a suite in the folder of the test."""
    return partial(suites.run, tmp_path)


@pytest.fixture
def run_command(suites: Suites, tmp_path: Path) -> RunCommand:
    """Return a function that runs `pandaprobe-otel` in the folder of the test."""
    return partial(suites.command, tmp_path)


@pytest.fixture
def project(server: LocalServer) -> dict[str, str]:
    """Return the settings of a project of the server that only this test uses."""
    return {
        "PANDAPROBE_ENDPOINT": server.url,
        "PANDAPROBE_API_KEY": f"sk_pp_{uuid.uuid4().hex}",
        "PANDAPROBE_PROJECT_NAME": f"suite-{uuid.uuid4()}",
    }


@pytest.fixture
def project_client(project: dict[str, str]) -> Iterator[Client]:
    """Yield a client of the test's project."""
    key, name, url = (project[f"PANDAPROBE_{what}"] for what in ("API_KEY", "PROJECT_NAME", "ENDPOINT"))
    with Client(key, name, url, retries=0, timeout_s=60.0) as client:
        yield client


@pytest.fixture
def judged(run_suite: RunSuite, project: dict[str, str]) -> RunSuite:
    """Return a function that runs a suite with `--pandaprobe=eval` against the server."""
    return partial(run_suite, **{**project, "PANDAPROBE_PYTEST": "eval"})


@pytest.fixture
def endpoint() -> Iterator[ProviderServer]:
    """Yield a model that judges: a low score for "bad one", an error for "is down", and nothing to judge for a plan."""

    def judge(request: Received) -> Reply:
        prompt = str(request.json["messages"])
        if "is down" in prompt:
            return Reply(status=401, chunks=(b"no key",))
        if "plan" in request.json["response_format"]["json_schema"]["schema"]["properties"]:
            return completion({"reason": "none", "score": 1.0, "task": "t", "plan": []})
        score = 0.2 if "bad one" in prompt else 0.9
        seen = {"task": "t", "outcome": "o", "user_input": "q", "tools_called": [], "available_tools": []}
        return completion({"reason": "seen", "score": score, **seen})

    with ProviderServer() as server:
        server.script = judge
        yield server
