"""Proxies that the environment names."""

from __future__ import annotations

import os
import sys


def has_proxy() -> bool:
    """Return whether the environment, or the settings of Windows or macOS, may name a proxy."""
    if sys.platform in ("win32", "darwin"):
        from urllib.request import getproxies

        return bool(getproxies())
    return any(
        value and name.lower() in ("http_proxy", "https_proxy", "all_proxy") for name, value in os.environ.items()
    )
