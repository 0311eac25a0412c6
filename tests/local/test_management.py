"""Keys, plans and invitations: answers follow the source and the API description of server 0.5.0."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import httpx
import pytest

from pandaprobe_otel.local import LocalServer

ONE = "00000000-0000-4000-8000-000000000001"


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


def test_rotation_of_keys(server: LocalServer, http: httpx.Client, organization: str) -> None:
    """The old key stays valid; an expired key can be rotated; a key without expiry or a revoked one stays unchanged."""
    old = http.post(f"{organization}/api-keys", json={"name": "k", "expiration": "90d"}).json()
    new = http.post(f"{organization}/api-keys/{old['id']}/rotate").json()
    assert (new["name"], new["expires_at"] >= old["expires_at"]) == ("k", True)
    assert new["raw_key"] not in (None, old["raw_key"])
    assert [use(server, key["raw_key"]) for key in (old, new)] == [200, 200]

    accounts = server.services.accounts
    late, secret = accounts.add_key(accounts.home.id, "late", expires_at=server.services.now() - 1)
    assert http.get(f"{organization}/api-keys/{late.id}").json()["is_active"] is False
    assert use(server, secret) == 401
    assert use(server, http.post(f"{organization}/api-keys/{late.id}/rotate").json()["raw_key"]) == 200

    never = http.post(f"{organization}/api-keys", json={"name": "k", "expiration": "never"}).json()
    http.delete(f"{organization}/api-keys/{old['id']}")
    for key, words, status in ((never, "Only keys with an expiration", 200), (old, "Cannot rotate a revoked", 401)):
        answer = http.post(f"{organization}/api-keys/{key['id']}/rotate")
        assert (answer.status_code, answer.json()["detail"].startswith(words)) == (422, True)
        assert use(server, key["raw_key"]) == status


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
