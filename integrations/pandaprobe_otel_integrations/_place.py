"""Who is called, and where: provider and server attributes."""

from __future__ import annotations

from typing import Any, Final

from . import _names as names
from ._endpoint import Attributes

_DEFAULT_PORTS: Final = {"https": 443, "http": 80}


def place_of(url: Any, provider: str) -> Attributes:
    """The attributes for a provider and a URL object of httpx or httpx2; a scheme's own port is left out."""
    port: int | None = url.port
    return {
        names.PROVIDER: provider,
        names.SERVER_ADDRESS: url.host,
        names.SERVER_PORT: port if port is not None and port != _DEFAULT_PORTS.get(url.scheme) else None,
    }
