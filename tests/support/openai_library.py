"""What the installed version of the openai client has; the tests run with the oldest and the newest one."""

from __future__ import annotations

from typing import Any, Final

import openai
import pytest
from openai import _base_client

HTTP: Final[Any] = getattr(_base_client, "httpx2", None) or _base_client.httpx  # type: ignore[attr-defined]
"""The HTTP library that this version of the client uses."""


def skip_without(client: Any, *paths: str) -> None:
    """Skip the test when the client has not all of these (dotted) members."""
    for path in paths:
        found = client
        for name in path.split("."):
            found = getattr(found, name, None)
        if found is None:
            pytest.skip(f"openai {openai.__version__} has no {path}")
