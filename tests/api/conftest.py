"""Both clients, and a local server."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from both_clients import Connect, Watched, settled
from pandaprobe_otel.api import AsyncClient, Client
from pandaprobe_otel.local import LocalServer

_numbers = itertools.count()


@pytest.fixture(params=[Client, AsyncClient], ids=["sync", "async"])
async def connect(request: pytest.FixtureRequest) -> AsyncIterator[Connect]:
    """Make clients of either kind, each with its own key and so its own budget, and close them at the end."""
    made: list[Any] = []

    def make(endpoint: str, **options: Any) -> Watched:
        if "token" not in options:
            options.setdefault("api_key", f"sk_pp_test_{next(_numbers)}")
        options.setdefault("project_name", "cassettes")
        client = request.param(endpoint=endpoint, **options)
        made.append(client)
        return Watched(client, blocks=request.param is Client)

    yield make
    for client in made:
        await settled(client.close())


@pytest.fixture(scope="module")
def server() -> Iterator[LocalServer]:
    """Yield a local PandaProbe."""
    with LocalServer(limit=None) as running:
        yield running
