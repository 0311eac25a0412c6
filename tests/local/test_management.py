"""Keys, plans, invitations and tags: answers follow the source and the API description of server 0.5.0."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import httpx
import pytest

from pandaprobe_otel.local import LocalServer

STARTED = "2026-01-02T03:04:05+00:00"
ONE, TWO = (f"00000000-0000-4000-8000-00000000000{number}" for number in (1, 2))


@pytest.fixture(scope="module")
def server() -> Generator[LocalServer]:
    """Yield a server without limits."""
    with LocalServer(limit=None) as running:
        yield running


@pytest.fixture(scope="module")
def http(server: LocalServer) -> Generator[httpx.Client]:
    """Yield a client with a bearer token."""
    headers = {"Authorization": "Bearer any"}
    with httpx.Client(base_url=server.url, headers=headers, trust_env=False, timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
def organization(server: LocalServer) -> str:
    """Return the path of the only organization."""
    return f"/organizations/{server.services.accounts.home.id}"


def use(server: LocalServer, key: str) -> int:
    """Return the status of a request with this key."""
    headers = {"X-API-Key": key, "X-Project-Name": "p"}
    return httpx.get(f"{server.url}/traces", headers=headers, trust_env=False, timeout=60).status_code


def test_a_rotated_key_is_valid_until_it_expires(server: LocalServer, http: httpx.Client, organization: str) -> None:
    """The old key stays valid; the new key has the same name and another ninety days."""
    old = http.post(f"{organization}/api-keys", json={"name": "k", "expiration": "90d"}).json()
    answer = http.post(f"{organization}/api-keys/{old['id']}/rotate")
    new = answer.json()
    assert answer.status_code == 201
    assert new["name"] == "k"
    assert new["expires_at"] >= old["expires_at"]
    assert new["raw_key"] not in (None, old["raw_key"])
    assert [use(server, key["raw_key"]) for key in (old, new)] == [200, 200]
    assert http.get(f"{organization}/api-keys/{old['id']}").json()["is_active"] is True


def test_a_key_that_has_expired_is_not_active_and_can_be_rotated(
    server: LocalServer, http: httpx.Client, organization: str
) -> None:
    """An expired key is refused, and rotating it gives a valid key."""
    accounts = server.services.accounts
    key, secret = accounts.add_key(accounts.home.id, "late", expires_at=server.services.now() - 1)
    assert http.get(f"{organization}/api-keys/{key.id}").json()["is_active"] is False
    assert use(server, secret) == 401
    new = http.post(f"{organization}/api-keys/{key.id}/rotate").json()
    assert use(server, new["raw_key"]) == 200


@pytest.mark.parametrize(
    ("expiration", "revoked", "words"),
    [
        (
            "never",
            False,
            (
                "Only keys with an expiration can be rotated. Production keys (never expire) should be revoked and "
                "re-created instead."
            ),
        ),
        ("90d", True, "Cannot rotate a revoked API key."),
    ],
)
def test_keys_that_cannot_be_rotated(
    server: LocalServer, http: httpx.Client, organization: str, expiration: str, revoked: bool, words: str
) -> None:
    """A key without expiry and a revoked key cannot be rotated, and stay unchanged."""
    key = http.post(f"{organization}/api-keys", json={"name": "k", "expiration": expiration}).json()
    if revoked:
        http.delete(f"{organization}/api-keys/{key['id']}")
    answer = http.post(f"{organization}/api-keys/{key['id']}/rotate")
    assert (answer.status_code, answer.json()) == (422, {"detail": words})
    assert use(server, key["raw_key"]) == (401 if revoked else 200)


def test_the_price_list(http: httpx.Client, organization: str) -> None:
    """The price list has the plans with the price of an extra unit; a development organization pays nothing."""
    plans = http.get("/subscriptions/plans").json()
    assert [(plan["name"], plan["monthly_price_cents"], plan["max_members"]) for plan in plans] == [
        ("HOBBY", 0, 1),
        ("PRO", 2900, 2),
        ("STARTUP", 29900, 10),
        ("ENTERPRISE", 0, None),
    ]
    assert {plan["overage_unit_price"] for plan in plans} == {"0.004"}
    assert plans[1]["base_traces"] == plans[1]["base_trace_evals"] == 5000
    assert [plan["pay_as_you_go"] for plan in plans] == [False, True, True, True]
    bill = http.get(f"{organization}/subscriptions/billing").json()
    assert (bill["overage_unit_price"], bill["total_overage_cost"], bill["estimated_total_cents"]) == (
        "0.004",
        "0.000",
        0,
    )


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (
            {"email": "a@b.c"},
            429,
            "Your DEVELOPMENT plan allows up to 1 member(s). Please upgrade to invite more.",
        ),
        ({"email": "a@b.c", "role": "OWNER"}, 403, "Cannot invite a user as OWNER."),
        ({"email": " DEV@localhost "}, 409, "You cannot invite yourself."),
    ],
)
def test_invitations(http: httpx.Client, organization: str, body: dict[str, Any], status: int, words: str) -> None:
    """Invitations are refused: there is no room for a second member, and neither owners nor oneself can be invited."""
    answer = http.post(f"{organization}/invitations", json=body)
    assert (answer.status_code, answer.json()) == (status, {"detail": words})
    unknown = http.delete(f"{organization}/invitations/{ONE}")
    assert (unknown.status_code, unknown.json()) == (404, {"detail": "Invitation not found."})


@pytest.mark.parametrize(
    ("change", "tags"),
    [
        ({"remove_tags": ["x"]}, ["b", "a", "b"]),
        ({"add_tags": ["c"]}, ["a", "b", "c", "x"]),
        ({"add_tags": ["x", "c"], "remove_tags": ["x", "a"]}, ["b", "c", "x"]),
    ],
    ids=["removed", "added", "both"],
)
def test_tags_of_a_batch(server: LocalServer, change: dict[str, Any], tags: list[str]) -> None:
    """Removing tags keeps order and duplicates; adding tags afterwards makes the list sorted and unique."""
    headers = {"X-API-Key": server.api_key, "X-Project-Name": "p"}
    with httpx.Client(base_url=server.url, headers=headers, trust_env=False, timeout=60) as http:
        http.delete(f"/traces/{ONE}")
        http.post(
            "/traces", json={"trace_id": ONE, "name": "t", "started_at": STARTED, "tags": ["b", "a", "x", "b"]}
        ).raise_for_status()
        answer = http.post("/traces/batch/tags", json={"trace_ids": [ONE, TWO], **change})
        assert answer.json() == {"updated": 1}
        assert http.get(f"/traces/{ONE}").json()["tags"] == tags
        assert http.get("/traces", params={"tags": "x"}).json()["total"] == ("x" in tags)


def test_a_request_without_a_project(server: LocalServer) -> None:
    """A request must name its project, even without authentication."""
    answer = httpx.get(f"{server.url}/traces", trust_env=False, timeout=60)
    words = "Project scope required. Provide X-Project-ID (Bearer) or X-Project-Name (API key)."
    assert (answer.status_code, answer.json()) == (422, {"detail": words})
