"""The callee of a request: provider and server attributes."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final
from urllib.parse import urlsplit

from . import _names as names
from ._endpoint import Attributes

MAX_PLACES: Final = 64
"""Base URLs whose place is remembered."""
_DEFAULT_PORTS: Final = {"https": 443, "http": 80}


def place_of(url: Any, provider: str) -> Attributes:
    """Return the attributes for a provider and a URL object of httpx or httpx2; a scheme's own port is left out."""
    return _place(provider, url.host, url.port, url.scheme)


@lru_cache(maxsize=256)
def place_at(url: str, provider: str) -> Attributes:
    """The same for a URL that is text. The result is shared: it is not to be changed."""
    parts = urlsplit(url)
    return _place(provider, parts.hostname, parts.port, parts.scheme)


class Places:
    """Places by the URL objects that they are read from: a client's stays the same, and is a dozen calls to read."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[Any, Any, Attributes]] = {}

    def of(self, url: Any, key: Any, read: Callable[[], Attributes]) -> Attributes:
        """Return the result of `read`, remembered while URL and key are the same objects. It must not be changed."""
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
