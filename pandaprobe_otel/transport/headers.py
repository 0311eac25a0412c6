"""Who is asking: the headers of each way to authenticate."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache


def api_key_headers(api_key: str, project_name: str) -> Mapping[str, str]:
    """Headers of an API key, if there is one, with its project.

    No Authorization header beside it: the server would then count the rate limit by that (measured on 0.5.0).
    """
    project = {"X-Project-Name": project_name, "User-Agent": user_agent()}
    return {"X-API-Key": api_key, **project} if api_key else project


def bearer_headers(
    token: str, *, project_id: str | None = None, organization_id: str | None = None
) -> Mapping[str, str]:
    """Headers of a bearer token. The organization is that of the newest membership when it is not named."""
    named = {"X-Project-ID": project_id, "X-Organization-ID": organization_id}
    ids = {name: value for name, value in named.items() if value is not None}
    return {"Authorization": f"Bearer {token}", **ids, "User-Agent": user_agent()}


@cache
def user_agent() -> str:
    """Name and version of this library, for the server's log."""
    from importlib.metadata import version

    return f"pandaprobe-otel/{version('pandaprobe-otel')}"
