"""The API description of the local server."""

from __future__ import annotations

from pathlib import Path

import httpx

from pandaprobe_otel.local import LocalServer


def test_every_published_operation_is_there() -> None:
    """Each of the 58 operations that PandaProbe documents is served under the same path and method."""
    published = (Path(__file__).parent / "data" / "operations.txt").read_text(encoding="utf-8").splitlines()
    with LocalServer() as server:
        paths = httpx.get(server.url + "/openapi.json", trust_env=False, timeout=60).json()["paths"]
    served = {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}
    assert len(published) == 58
    assert set(published) - served == set()


def test_pages_are_no_part_of_the_api() -> None:
    """The description has nothing under /ui."""
    with LocalServer() as server:
        paths = httpx.get(server.url + "/openapi.json", trust_env=False, timeout=60).json()["paths"]
    assert not [path for path in paths if path.startswith("/ui")]
