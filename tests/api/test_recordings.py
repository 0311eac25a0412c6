"""Recorded answers: every operation has one, and each recording names its server."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from endpoints import not_asked
from recorded_api import CASSETTES, LOCAL_CASSETTES, LOCAL_LABEL

FAST_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
REAL, LOCAL = sorted(CASSETTES.glob("*.yaml")), sorted(LOCAL_CASSETTES.glob("*.yaml"))

ONLY_LOCALLY = {
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
    "GET /organizations",
    "POST /organizations",
    "PATCH /organizations/{org_id}",
    "DELETE /organizations/{org_id}",
    "GET /organizations/{org_id}/members",
    "PATCH /organizations/{org_id}/members/{user_id}",
    "DELETE /organizations/{org_id}/members/{user_id}",
    "GET /organizations/{org_id}/invitations",
    "POST /organizations/{org_id}/invitations",
    "DELETE /organizations/{org_id}/invitations/{invitation_id}",
    "GET /organizations/{org_id}/projects",
    "GET /organizations/{org_id}/api-keys",
    "POST /organizations/{org_id}/api-keys/{key_id}/rotate",
    "GET /organizations/{org_id}/subscriptions",
    "GET /organizations/{org_id}/subscriptions/billing",
    "GET /organizations/{org_id}/subscriptions/invoices",
    "GET /subscriptions/plans",
    "GET /me/invitations",
    "POST /me/invitations/{invitation_id}/accept",
    "POST /me/invitations/{invitation_id}/decline",
}
"""Operations recorded only from the local server. The local server passes the real server's recorded cases
(tests/local/test_contract.py).
"""


def requests(files: list[Path]) -> Iterator[tuple[str, str]]:
    """Yield method and path of every recorded request."""
    for file in files:
        for interaction in yaml.load(file.read_text(encoding="utf-8"), FAST_LOADER)["interactions"]:
            request = interaction["request"]
            yield request["method"], urlsplit(request["uri"]).path


def without_recording(files: list[Path]) -> set[str]:
    """Return the operations that are in none of the files."""
    return {str(endpoint) for endpoint in not_asked(requests(files))}


def test_every_operation_is_recorded() -> None:
    """Every operation of a key or a token is recorded, from the real server or else from the local server."""
    assert without_recording(REAL) == ONLY_LOCALLY
    assert without_recording(REAL + LOCAL) == set()


def test_recordings_of_the_local_server_are_labelled() -> None:
    """A recording of the local server has a label."""
    for file in LOCAL:
        assert file.read_text(encoding="utf-8").startswith(LOCAL_LABEL)


@pytest.mark.parametrize("file", REAL + LOCAL, ids=lambda file: str(file.stem))
def test_no_key_is_in_a_recording(file: Path) -> None:
    """Recordings have no keys or tokens, but a placeholder."""
    text = file.read_text(encoding="utf-8")

    assert not re.search(r"sk_pp_[0-9a-f]{16}", text)
    for interaction in yaml.load(text, FAST_LOADER)["interactions"]:
        headers = interaction["request"]["headers"]
        for name in ("x-api-key", "authorization"):
            assert headers.get(name, ["REDACTED"]) == ["REDACTED"]
