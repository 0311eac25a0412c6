"""Fixtures for pages and examples: a runner, a server and a model."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from doc_models import models
from doc_programs import Tools
from pandaprobe_otel.local import LocalServer


@pytest.fixture(scope="session")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tools]:
    """Yield the runner of Python and of commands."""
    tools = Tools(tmp_path_factory.mktemp("tools"))
    yield tools
    tools.forks.close()


@pytest.fixture(scope="session")
def server() -> Iterator[LocalServer]:
    """Yield the PandaProbe that programs and commands use."""
    with LocalServer(limit=None, scripted_judge=True) as running:
        yield running


@pytest.fixture(scope="session")
def model() -> Iterator[dict[str, str]]:
    """Yield the environment of the model that programs use."""
    with models() as environment:
        yield environment
