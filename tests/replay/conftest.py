from __future__ import annotations

import gc
import warnings
from collections.abc import Iterator

import pytest

from provider_server import ProviderServer


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


@pytest.fixture(autouse=True, scope="module")
def found_at_once() -> Iterator[None]:
    """Find what clients have left open at the end of each file, and not in the midst of another one's tests."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
