"""Check whether a plain socket can reach an endpoint; all other endpoints need httpx."""

from __future__ import annotations

import os
import sys
from typing import Final
from urllib.parse import urlsplit

DEFAULT_PORTS: Final = {"http": 80, "https": 443}


def has_proxy() -> bool:
    """Return whether the environment, or the settings of Windows or macOS, may name a proxy."""
    if sys.platform in ("win32", "darwin"):
        from urllib.request import getproxies

        return bool(getproxies())
    return any(
        value and name.lower() in ("http_proxy", "https_proxy", "all_proxy") for name, value in os.environ.items()
    )


def is_plain(endpoint: str) -> bool:
    """Return whether an endpoint is a plain address, without credentials."""
    try:
        url = urlsplit(endpoint)
        port = url.port
    except ValueError:
        return False
    is_ascii = endpoint.isascii() and endpoint.isprintable()
    return is_ascii and url.scheme in DEFAULT_PORTS and bool(url.hostname) and port != 0 and "@" not in url.netloc
