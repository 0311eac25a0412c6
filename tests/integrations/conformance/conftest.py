from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack
from typing import Any

import pytest
import pytest_asyncio

from conformance.adapter import Adapter
from provider_server import ProviderServer


@pytest.fixture(scope="module")
def clients(running_server: ProviderServer) -> Iterator[Any]:
    """Yield synchronous clients by adapter and timeout, each opened once."""
    with ExitStack() as stack:
        opened: dict[tuple[str, float], Any] = {}

        def client(adapter: Adapter, timeout_s: float) -> Any:
            key = adapter.title, timeout_s
            if key not in opened:
                opened[key] = stack.enter_context(adapter.client(running_server.url, timeout_s))
            return opened[key]

        yield client


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def async_clients(running_server: ProviderServer) -> AsyncIterator[Any]:
    """Yield asynchronous clients by adapter and timeout, each opened once."""
    async with AsyncExitStack() as stack:
        opened: dict[tuple[str, float], Any] = {}

        async def client(adapter: Adapter, timeout_s: float) -> Any:
            key = adapter.title, timeout_s
            if key not in opened:
                opened[key] = await stack.enter_async_context(adapter.async_client(running_server.url, timeout_s))
            return opened[key]

        yield client
