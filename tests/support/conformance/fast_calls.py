"""Settings for thousands of calls in a few minutes, which avoid costs of clients that are not under test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from models_made_once import models_made_once
from provider_server import ProviderServer
from without_sockets import without_sockets


@contextmanager
def hurried(server: ProviderServer) -> Iterator[None]:
    """Replace the sockets of clients that use httpx, and reuse the classes that clients make, within the block."""
    with without_sockets(server), models_made_once():
        yield
