"""The HTTP library of the installed openai client."""

from __future__ import annotations

from typing import Any, Final

from openai import _base_client

HTTP: Final[Any] = getattr(_base_client, "httpx2", None) or _base_client.httpx  # type: ignore[attr-defined]
"""The HTTP library that this version of the client uses."""
