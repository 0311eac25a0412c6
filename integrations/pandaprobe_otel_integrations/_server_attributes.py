"""Provider and server attributes of a request."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final
from urllib.parse import urlsplit

from . import _names as names
from ._endpoint import Attributes

MAX_PLACES: Final = 64
"""Number of base URLs whose attributes are cached."""
_DEFAULT_PORTS: Final = {"https": 443, "http": 80}


def place_of(url: Any, provider: str) -> Attributes:
    """Return the attributes for a provider and a URL object of httpx or httpx2.

    The default port of a scheme is left out.
    """
    return _place(provider, url.host, url.port, url.scheme)


@lru_cache(maxsize=256)
def place_at(url: str, provider: str) -> Attributes:
    """Return the attributes for a provider and a URL as text. The result is shared: do not change it."""
    parts = urlsplit(url)
    return _place(provider, parts.hostname, parts.port, parts.scheme)


class Places:
    """A cache by URL object: a client keeps the same object, and reading it takes a dozen calls."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[Any, Any, Attributes]] = {}

    def of(self, url: Any, key: Any, read: Callable[[], Attributes]) -> Attributes:
        """Return the result of `read`, cached while URL and key are the same objects. Do not change it."""
        known = self._known.get(id(url))
        if known is not None and known[0] is url and known[1] is key:
            return known[2]
        place = read()
        if len(self._known) >= MAX_PLACES:
            self._known.clear()
        self._known[id(url)] = (url, key, place)
        return place


def _place(provider: str, host: str | None, port: int | None, scheme: str) -> Attributes:
    place: Attributes = {names.PROVIDER: provider, names.SERVER_ADDRESS: host}
    if port is not None and port != _DEFAULT_PORTS.get(scheme):
        place[names.SERVER_PORT] = port
    return place
