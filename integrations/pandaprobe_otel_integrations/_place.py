"""Who is called, and where: provider and server attributes."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final
from urllib.parse import urlsplit

from . import _names as names
from ._endpoint import Attributes

_DEFAULT_PORTS: Final = {"https": 443, "http": 80}


def place_of(url: Any, provider: str) -> Attributes:
    """The attributes for a provider and a URL object of httpx or httpx2; a scheme's own port is left out."""
    return _place(provider, url.host, url.port, url.scheme)


@lru_cache(maxsize=256)
def place_at(url: str, provider: str) -> Attributes:
    """The same for a URL that is text. The result is shared: it is not to be changed."""
    parts = urlsplit(url)
    return _place(provider, parts.hostname, parts.port, parts.scheme)


def _place(provider: str, host: str | None, port: int | None, scheme: str) -> Attributes:
    place: Attributes = {names.PROVIDER: provider, names.SERVER_ADDRESS: host}
    if port is not None and port != _DEFAULT_PORTS.get(scheme):
        place[names.SERVER_PORT] = port
    return place
