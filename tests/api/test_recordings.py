"""Which operations are tested against recorded answers of the real server."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from endpoints import all_endpoints
from pandaprobe_otel.api.endpoint import Endpoint, Scope
from recorded import CASSETTES, RECORDED_AT

NOT_RECORDED = {
    "GET /evaluations/trace-runs/template",
    "POST /evaluations/session-runs",
    "GET /evaluations/session-runs",
    "DELETE /evaluations/session-runs/{run_id}",
    "POST /evaluations/session-runs/{run_id}/retry",
    "GET /evaluations/session-scores",
    "DELETE /evaluations/session-scores/{score_id}",
    "GET /evaluations/analytics/session-scores/summary",
    "GET /evaluations/analytics/session-scores/trend",
    "GET /evaluations/analytics/session-scores/distribution",
}
"""Operations on traces and evaluations of which there is no recording; the local server, which answers the recorded
cases of the real one, has them all (test_local.py)."""


def requests() -> list[tuple[str, str]]:
    """Method and path of every recorded request."""
    found: list[tuple[str, str]] = []
    for file in sorted(CASSETTES.glob("*.yaml")):
        for interaction in yaml.safe_load(file.read_text(encoding="utf-8"))["interactions"]:
            request = interaction["request"]
            found.append((request["method"], request["uri"].removeprefix(RECORDED_AT).partition("?")[0]))
    return found


def test_what_is_recorded() -> None:
    """Everything that an API key can do, but for a list."""
    recorded = requests()
    missing = {str(each) for each in all_endpoints() if each.scope is Scope.PROJECT and not _is_in(each, recorded)}

    assert missing == NOT_RECORDED


def _is_in(endpoint: Endpoint[Any], recorded: list[tuple[str, str]]) -> bool:
    pattern = re.compile(re.sub(r"\{\w+\}", "[^/]+", endpoint.path))
    exact = {path for _, path in recorded if path == endpoint.path}
    return any(
        method == endpoint.method and pattern.fullmatch(path) and (not exact or path in exact or "{" in endpoint.path)
        for method, path in recorded
    )


@pytest.mark.parametrize("file", sorted(CASSETTES.glob("*.yaml")), ids=lambda file: str(file.stem))
def test_no_key_is_in_a_recording(file: Path) -> None:
    """Keys and tokens are replaced."""
    text = file.read_text(encoding="utf-8")

    assert not re.search(r"sk_pp_[0-9a-f]{16}", text)
    for interaction in yaml.safe_load(text)["interactions"]:
        headers = interaction["request"]["headers"]
        for name in ("x-api-key", "authorization"):
            assert headers.get(name, ["REDACTED"]) == ["REDACTED"]
