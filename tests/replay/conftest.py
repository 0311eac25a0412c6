from __future__ import annotations

import gc
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack
from typing import Any

import pytest
import pytest_asyncio

from conformance.adapter import Adapter
from library_members import drop_clients
from provider_server import ProviderServer
from span_recorder import SpanRecorder

TIMEOUT_S = 20.0


@pytest.fixture(autouse=True)
def short_collections() -> None:
    """Hide existing objects from the garbage collector, because tests of abandoned streams collect often."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="module")
def found_at_once() -> Iterator[None]:
    """Drop clients at the end of each file, so that they are not found in another file's tests."""
    yield
    drop_clients()


@pytest.fixture(autouse=True)
def no_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unset CI, so that tests can record."""
    monkeypatch.delenv("CI", raising=False)


@pytest.fixture(scope="module")
def server() -> Iterator[ProviderServer]:
    """Yield a loopback model provider for all tests of a module."""
    with ProviderServer() as server:
        yield server


@pytest.fixture
def recorder() -> Iterator[SpanRecorder]:
    """Yield a span recorder that is not yet attached."""
    made = SpanRecorder()
    yield made
    made.provider.shutdown()


@pytest.fixture(scope="module")
def clients(server: ProviderServer) -> Iterator[Any]:
    """Yield a function that returns an adapter's synchronous client, opened once."""
    with ExitStack() as stack:
        opened: dict[str, Any] = {}

        def client(adapter: Adapter) -> Any:
            if adapter.title not in opened:
                opened[adapter.title] = stack.enter_context(adapter.client(server.url, TIMEOUT_S))
            return opened[adapter.title]

        yield client


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def async_clients(server: ProviderServer) -> AsyncIterator[Any]:
    """Yield a function that returns an adapter's asynchronous client, opened once."""
    async with AsyncExitStack() as stack:
        opened: dict[str, Any] = {}

        async def client(adapter: Adapter) -> Any:
            if adapter.title not in opened:
                assert adapter.async_client is not None
                opened[adapter.title] = await stack.enter_async_context(adapter.async_client(server.url, TIMEOUT_S))
            return opened[adapter.title]

        yield client
