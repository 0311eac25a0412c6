"""The exception for each answer of the server. The bodies were recorded from server 0.5.0."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from both_clients import Connect, settled
from pandaprobe_otel.api import AsyncClient, Client, RateLimits
from pandaprobe_otel.errors import (
    AuthError,
    ConfigError,
    Conflict,
    InvalidRequest,
    KeyExpired,
    NotFound,
    PandaProbeError,
    PermissionDenied,
    QuotaExceeded,
    RateLimited,
    ServerError,
)
from pandaprobe_otel.local import LocalServer
from provider_server import Reply, json_reply
from scripted_api import FAILED, ScriptedApi

SCOPE = "Project scope required. Provide X-Project-ID (Bearer) or X-Project-Name (API key)."
TRACES = "You've reached the traces limit (100) for your HOBBY plan. Please upgrade to continue."
MEMBERS = "Your HOBBY plan allows up to 2 member(s). Please upgrade to invite more."
NOW = datetime.now(UTC)
NO_INTEGER = {"field": "query -> limit", "message": "Input should be a valid integer"}


def refused(status: int, detail: Any, **more: Any) -> Reply:
    """Return an answer in the form that the server uses."""
    return json_reply({"detail": detail, **more}, status=status, X_Request_ID="r-1")


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (refused(401, "Missing credentials. Provide Authorization: Bearer <token>"), AuthError, "PANDAPROBE_API_KEY"),
        (refused(401, "Invalid or revoked API key."), AuthError, "PANDAPROBE_API_KEY"),
        (refused(401, "API key has expired. Please generate a new one."), KeyExpired, "Make a new key"),
        (refused(422, SCOPE), InvalidRequest, "PANDAPROBE_PROJECT_NAME"),
        (refused(422, "Project not found or does not belong to your organization."), InvalidRequest, "project_id"),
        (refused(422, "Validation error", errors=[NO_INTEGER]), InvalidRequest, "query -> limit: Input should be"),
        (refused(404, "Not Found"), NotFound, "base URL of a PandaProbe"),
        (refused(405, "Method Not Allowed"), InvalidRequest, "405 Method Not Allowed"),
        (refused(409, "A project named 'p' already exists in this organization."), Conflict, "already exists"),
        (refused(402, "Payment required"), QuotaExceeded, "Upgrade the plan"),
        (refused(429, TRACES), QuotaExceeded, "Upgrade the plan"),
        (
            refused(429, "Monitoring is not available on your HOBBY plan. Please upgrade."),
            PermissionDenied,
            "Monitoring",
        ),
        (refused(429, MEMBERS), PermissionDenied, "2 member(s)"),
        (json_reply({"error": "Rate limit exceeded: 200 per 1 minute"}, status=429), RateLimited, "in this minute"),
        (FAILED, ServerError, "the server failed (500 Internal Server Error)"),
        (json_reply("<html>down</html>", status=503), ServerError, "503 down"),
        (json_reply(None, status=307, Location="https://x.example/traces"), ConfigError, "https://x.example/traces"),
        (json_reply("<html>a page</html>"), ServerError, "base URL"),
        (json_reply({"items": [{}], "total": 1, "limit": 1, "offset": 0}), ServerError, "items -> 0"),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else None,
)
async def test_each_answer_has_its_error(
    connect: Connect, answer: Reply, kind: type[PandaProbeError], words: str
) -> None:
    """Each answer raises its own exception, whose message has the server's words, the call and the remedy."""
    with ScriptedApi() as api:
        api.serve("GET /traces", answer)
        client = connect(api.url, retries=0, timeout_s=2.0)
        with pytest.raises(kind) as raised:
            await client.traces.list()

    error = raised.value
    assert type(error) is kind
    assert words in str(error)
    assert "GET /traces" in str(error)
    assert "sk_pp_test" not in f"{error} {error!r} {vars(error)}"
    if answer.headers.get("X-Request-ID"):
        assert (error.status, error.request_id) == (answer.status, "r-1")
        assert error.detail == json.loads(answer.chunks[0])["detail"]
    fields = [(each.field, each.message) for each in error.errors] if isinstance(error, InvalidRequest) else []
    assert fields == ([tuple(NO_INTEGER.values())] if "query -> limit" in words else [])


async def test_a_local_server_that_requires_a_key(connect: Connect) -> None:
    """Without a key, the server's refusal of the project means the missing key."""
    with ScriptedApi().serve("GET /traces", refused(422, SCOPE)) as api:
        client = connect(api.url, api_key=None)
        with pytest.raises(AuthError, match="set PANDAPROBE_API_KEY"):
            await client.traces.list()


async def test_management_needs_a_token(connect: Connect) -> None:
    """A call to a management endpoint without a token raises before it sends a request."""
    with ScriptedApi() as api:
        client = connect(api.url, api_key="sk_pp_test_key")
        with pytest.raises(ConfigError, match="needs a bearer token"):
            await client.projects.list(uuid4())
        with pytest.raises(InvalidRequest, match="organization_id: is missing"):
            await client.projects.list()

    assert api.received == []


async def test_nobody_listens(connect: Connect) -> None:
    """If no server answers, the error names the endpoint and the reason."""
    with ScriptedApi() as api:
        closed = api.url
    with pytest.raises(ServerError, match=f"no answer from {closed}") as raised:
        await connect(closed, retries=0).traces.list()

    assert raised.value.status is None
    assert "ConnectError" in str(raised.value)


async def test_ids_and_times_are_checked_before_anything_is_sent(connect: Connect) -> None:
    """Invalid ids, times and arguments raise before any request is sent."""
    with ScriptedApi() as api:
        client = connect(api.url)
        wrong: list[tuple[Any, str]] = [
            (lambda: client.traces.list(limit=0), "limit"),
            (lambda: client.traces.iter(page_size=201), "limit"),
            (lambda: client.traces.list(name="\udcff"), ""),
            (lambda: client.traces.list(started_after=datetime(2026, 1, 1)), "started_after"),
            (lambda: client.traces.list(status="completed"), "status"),
            (lambda: client.traces.list(sesion_id="x"), "sesion_id"),
            (lambda: client.traces.get("0123456789abcdef"), "trace_id"),
            (lambda: client.traces.create(name="n", started_at=NOW, spans=[{"name": "s"}] * 501), "spans"),
            (lambda: client.traces.delete_many([]), "trace_ids"),
            (lambda: client.sessions.get("a/b"), "session_id"),
            (lambda: client.score(uuid4(), "q", 1.5), "value"),
            (lambda: client.score(uuid4(), "q", float("nan")), "value"),
            (lambda: client.evaluations.trace_runs.create(metrics=["m"], filters={"nme": 1}), "filters -> nme"),
            (lambda: client.monitors.create(name="m", target_type="TRACE", metrics=["x"], cadence="hourly"), "cadence"),
        ]
        for call, field in wrong:
            with pytest.raises(InvalidRequest) as raised:
                await settled(call())
            assert [error.field for error in raised.value.errors][:1] == [field], raised.value

    assert api.received == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"api_key": None}, "no API key: set PANDAPROBE_API_KEY"),
        ({"api_key": "your-key"}, "placeholder"),
        ({"api_key": "sk pp"}, "not shown"),
        ({"project_name": "a/b"}, "is not a project name"),
        ({"endpoint": "shop"}, "is not an http(s) URL"),
        ({"token": "two words"}, "not a bearer token"),
        ({"token": "t", "organization_id": "o"}, "organization_id must be a UUID"),
        ({"token": "t", "project_id": "shop"}, "project_id must be a UUID"),
        ({"timeout_s": 0}, "timeout_s must be over 0"),
        ({"timeout_s": float("nan")}, "timeout_s must be over 0"),
        ({"retries": -1}, "retries 0 or more"),
    ],
)
@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_a_client_that_cannot_work_is_not_made(
    kind: Any, options: dict[str, Any], words: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """An invalid setting raises an error that names the setting and shows no secret; a loopback server needs no key."""
    monkeypatch.delenv("PANDAPROBE_API_KEY", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(ConfigError) as raised:
        kind(**{"api_key": "sk_pp_test_key", "project_name": "p", "endpoint": "https://shop.example", **options})

    assert words in str(raised.value)
    assert "sk pp" not in str(raised.value)
    assert "traces are sent" not in str(raised.value)


def test_limits_that_let_nothing_through_are_refused() -> None:
    """A limit of zero is refused, since it would make every call wait for ever."""
    with pytest.raises(ConfigError, match="runs must be over 0"):
        RateLimits(runs=0)
    with LocalServer() as server, Client(endpoint=server.url) as client:
        assert client.traces.list().total == 0
