"""A client of the HTTP API of a local PandaProbe, and the traces that it has."""

from __future__ import annotations

from typing import Any

import httpx

from pandaprobe_otel.local import LocalServer


def http_of(server: LocalServer, project: str = "shop", **headers: str) -> httpx.Client:
    """Return a client of a project."""
    given = {"X-API-Key": server.api_key, "X-Project-Name": project, **headers}
    return httpx.Client(base_url=server.url, headers=given, trust_env=False, timeout=60)


def traces_of(server: LocalServer, project: str = "shop") -> list[dict[str, Any]]:
    """Return the traces of a project with their spans, the oldest first."""
    with http_of(server, project) as http:
        rows = http.get("/traces", params={"sort_order": "asc", "limit": 100}).raise_for_status().json()["items"]
        return [http.get(f"/traces/{row['trace_id']}").raise_for_status().json() for row in rows]
