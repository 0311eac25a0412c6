"""A gateway in front of a local PandaProbe."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pandaprobe_otel.gateway import Gateway
from pandaprobe_otel.local import LocalServer


@pytest.fixture(scope="package")
def shared_server() -> Iterator[LocalServer]:
    """A local PandaProbe without limits, for all tests of this folder."""
    with LocalServer(limit=None) as server:
        yield server


@pytest.fixture(scope="package")
def gateway(shared_server: LocalServer) -> Iterator[Gateway]:
    """A gateway that sends there, with a bound of 1 MB for bodies."""
    with Gateway(endpoint=shared_server.url, api_key=shared_server.api_key, max_body=1_000_000) as running:
        yield running
