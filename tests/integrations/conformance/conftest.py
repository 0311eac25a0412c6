from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from conformance.adapter import Adapter
from conformance.sides import Side
from provider_server import ProviderServer


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    """Yield the event loop of a module's asynchronous clients."""
    with asyncio.Runner() as made:
        yield made


@pytest.fixture(scope="module")
def side(running_server: ProviderServer, runner: asyncio.Runner) -> Iterator[Any]:
    """Yield a function that returns one side of an adapter; each client is opened once."""
    with ExitStack() as stack:
        opened: dict[tuple[str, bool, float], Side] = {}

        def open_side(adapter: Adapter, asynchronous: bool, timeout_s: float = 20.0) -> Side:
            key = adapter.title, asynchronous, timeout_s
            if key not in opened:
                opened[key] = stack.enter_context(
                    Side.opened(adapter, asynchronous, running_server.url, timeout_s, runner)
                )
            return opened[key].of(adapter)

        yield open_side
