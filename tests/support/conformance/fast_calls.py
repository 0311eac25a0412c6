"""Thousands of calls in a few minutes, without the costs of a client that are not under test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from models_made_once import models_made_once
from provider_server import ProviderServer
from without_sockets import without_sockets


@contextmanager
def hurried(server: ProviderServer) -> Iterator[None]:
    """Replace the sockets of clients over httpx, and reuse the classes that clients make for a call, in the block."""
    with without_sockets(server), models_made_once():
        yield
