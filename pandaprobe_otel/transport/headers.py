"""Headers for each way to authenticate."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.metadata import version


def api_key_headers(api_key: str, project_name: str) -> Mapping[str, str]:
    """Return the headers for a project and its API key, if there is one.

    Send no Authorization header with them: the server would use it to count the rate limit (measured on 0.5.0).
    """
    project = {"X-Project-Name": project_name, "User-Agent": user_agent()}
    return {"X-API-Key": api_key, **project} if api_key else project


def bearer_headers(
    token: str, *, project_id: str | None = None, organization_id: str | None = None
) -> Mapping[str, str]:
    """Return the headers for a bearer token. Without an organization, the server uses the newest membership."""
    named = {"X-Project-ID": project_id, "X-Organization-ID": organization_id}
    ids = {name: value for name, value in named.items() if value is not None}
    return {"Authorization": f"Bearer {token}", **ids, "User-Agent": user_agent()}


@cache
def user_agent() -> str:
    """Return name and version of this library, for the server's log."""
    return f"pandaprobe-otel/{version('pandaprobe-otel')}"
