"""Thousands of calls in a few minutes: what costs a client most, and is no part of what is tested, is left out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from models_made_once import models_made_once
from provider_server import ProviderServer
from without_sockets import without_sockets


@contextmanager
def hurried(server: ProviderServer) -> Iterator[None]:
    """Inside the block, clients over httpx need no sockets, and no client makes classes for each call."""
    with without_sockets(server), models_made_once():
        yield
