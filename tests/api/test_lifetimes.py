"""Clients across event loops, forks, interruptions and closing, and the sources of their settings."""

from __future__ import annotations

import asyncio
import gc
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from both_clients import Connect
from pandaprobe_otel.api import AsyncClient, Client
from pandaprobe_otel.local import LocalServer
from provider_server import json_reply
from scripted_api import ScriptedApi, served_run
from subprocesses import environment, run_python

RUN = served_run(status="RUNNING")
EMPTY = {"items": [], "total": 0, "limit": 50, "offset": 0}


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("API_KEY", "PROJECT_NAME", "ENDPOINT"):
        monkeypatch.delenv(f"PANDAPROBE_{name}", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


def test_one_async_client_in_two_event_loops() -> None:
    """An async client in a second event loop opens new connections, since connections belong to a loop."""
    with ScriptedApi() as api:
        api.serve("GET /traces", EMPTY)
        client = AsyncClient("sk_pp_loops", "p", api.url)

        async def ask() -> int:
            page = await client.traces.list()
            await client.close()
            return page.total

        totals = [asyncio.run(ask()) for _ in range(3)]
        gc.collect()

    assert (totals, len(api.received)) == ([0, 0, 0], 3)


async def test_cancelling_a_wait_leaves_the_client_and_the_run_alone() -> None:
    """A cancelled wait for a run ends at once, and a second wait for the same run succeeds."""
    with ScriptedApi() as api:
        api.serve(f"GET /evaluations/trace-runs/{RUN['id']}", RUN)
        async with AsyncClient("sk_pp_cancel", "p", api.url) as client:
            run = await client.evaluations.get(str(RUN["id"]))
            waiting = asyncio.create_task(run.wait(timeout=60))
            await asyncio.sleep(0.2)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            api.serve(f"GET /evaluations/trace-runs/{RUN['id']}", {**RUN, "status": "COMPLETED"})
            api.serve(f"GET /evaluations/trace-runs/{RUN['id']}/scores", [])
            result = await run.wait(timeout=5)

    assert result.run.status == "COMPLETED"
    assert {one.method for one in api.received} == {"GET"}


async def test_a_timeout_of_the_caller_is_kept_to() -> None:
    """`asyncio.timeout` around a call ends the call while the server is silent."""
    with ScriptedApi() as api:
        api.serve("GET /traces", json_reply(EMPTY, waits_s=1.0))
        async with AsyncClient("sk_pp_timeout", "p", api.url) as client:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await client.traces.list()


def test_a_forked_child_has_connections_of_its_own() -> None:
    """Parent and child use the same client after a fork, and neither gets the other's answer."""
    with ScriptedApi() as api:
        api.serve("GET /traces", EMPTY)
        code = f"""
        import os
        from pandaprobe_otel.api import Client
        client = Client("sk_pp_fork", "p", {api.url!r})
        client.traces.list()
        child = os.fork()
        if not child:
            client.traces.list(limit=2)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        client.traces.list(limit=3)
        client.close()
        print("done")
        """
        done = run_python(code, environment(), set_up=False)

    assert (done.stdout, done.stderr) == ("done\n", "")
    assert [one.query for one in api.received] == ["", "limit=2", "limit=3"]


def headers_of(client: Any, call: Any, api: ScriptedApi) -> dict[str, str]:
    """Return the credentials in the headers of the last request."""
    with client:
        call(client)
    names = ("x-api-key", "x-project-name", "authorization", "x-project-id", "x-organization-id")
    sent = api.received[-1].headers
    return {name: sent[name] for name in names if name in sent}


def test_the_ways_to_authenticate() -> None:
    """A key is sent with a project name, and a token with ids; where both are accepted, the key is sent."""
    project, organization = uuid4(), uuid4()
    with ScriptedApi() as api:
        api.serve("GET /traces", EMPTY).serve("GET /organizations", [])
        key = headers_of(Client("sk_pp_k", "shop", api.url), lambda client: client.traces.list(), api)
        both = Client("sk_pp_k", "shop", api.url, token="tok", project_id=project, organization_id=organization)
        by_key = headers_of(both, lambda client: client.traces.list(), api)
        by_token = headers_of(both, lambda client: client.organizations.list(), api)
        token = Client(endpoint=api.url, token="Bearer tok", project_id=str(project), organization_id=organization)
        alone = headers_of(token, lambda client: client.traces.list(), api)

    assert key == by_key == {"x-api-key": "sk_pp_k", "x-project-name": "shop"}
    assert by_token == {"authorization": "Bearer tok", "x-organization-id": str(organization)}
    assert alone == {
        "authorization": "Bearer tok",
        "x-project-id": str(project),
        "x-organization-id": str(organization),
    }


def test_a_given_token_and_project_are_used_although_there_is_a_key_around(monkeypatch: pytest.MonkeyPatch) -> None:
    """A token and project given as arguments are used, although the environment has a key."""
    project = uuid4()
    monkeypatch.setenv("PANDAPROBE_API_KEY", "sk_pp_of_the_environment")
    with ScriptedApi() as api:
        api.serve("GET /traces", EMPTY)
        given = headers_of(
            Client(endpoint=api.url, token="tok", project_id=project), lambda client: client.traces.list(), api
        )
        around = headers_of(Client(endpoint=api.url, token="tok"), lambda client: client.traces.list(), api)

    assert given == {"authorization": "Bearer tok", "x-project-id": str(project)}
    assert around == {"x-api-key": "sk_pp_of_the_environment", "x-project-name": "default"}


async def test_threads_or_tasks_share_a_client(connect: Connect) -> None:
    """Sixteen concurrent calls of one client each get their own answer, also after it was closed."""
    with LocalServer() as server:
        client = connect(server.url)
        for _ in range(2):
            calls = (client.traces.list(limit=number) for number in range(1, 17))
            pages = await asyncio.gather(*calls)
            assert [page.limit for page in pages] == list(range(1, 17))
            await client.close()
