"""A gateway in front of a local PandaProbe."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pandaprobe_otel.gateway import Gateway
from pandaprobe_otel.local import LocalServer


@pytest.fixture(scope="module")
def shared_server() -> Iterator[LocalServer]:
    """Yield a local PandaProbe without limits."""
    with LocalServer(limit=None) as server:
        yield server


@pytest.fixture(scope="module")
def gateway(shared_server: LocalServer) -> Iterator[Gateway]:
    """Yield a gateway that sends to the local PandaProbe, with a bound of 1 MB for bodies.

    It stops after each file, so that its late requests and logs do not reach the tests of another file.
    """
    with Gateway(endpoint=shared_server.url, api_key=shared_server.api_key, max_body=1_000_000) as running:
        yield running
