"""Set-ups that lack a key or name a new project: an open server accepts traces, others cause one clear line."""

from __future__ import annotations

import asyncio
import json
import subprocess
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from command_line import clean_environment, run_here
from pandaprobe_otel.api import AsyncClient, Client
from pandaprobe_otel.errors import AuthError, ConfigError
from pandaprobe_otel.local import LocalServer
from strict_pandaprobe import StrictPandaProbe
from subprocesses import environment, run_python

TRACED = """
import time
import pandaprobe_otel
from opentelemetry import trace
handle = pandaprobe_otel.init(instrument=False)
with trace.get_tracer("app").start_as_current_span("answer", attributes={"gen_ai.operation.name": "chat"}):
    pass
handle.flush(0.0)
while not handle.status().answers:
    time.sleep(0.01)
print(handle.flush(0.5))
"""


def run_without_key(url: str) -> subprocess.CompletedProcess[str]:
    """Run a program that traces one call, with only the endpoint set."""
    known = {name: value for name, value in environment(url).items() if name != "PANDAPROBE_API_KEY"}
    return run_python(TRACED, known)


def test_an_open_local_server_takes_traces_without_a_key() -> None:
    """A local server without authentication stores traces that are sent without a key."""
    with LocalServer() as server:
        result = run_without_key(server.url)
        with Client(endpoint=server.url, project_name="shop") as client:
            stored = [trace.name for trace in client.traces.list().items]

    assert (result.returncode, result.stdout, result.stderr) == (0, "True\n", "")
    assert stored == ["answer"]


def test_no_key_is_sent_that_nobody_has_set() -> None:
    """Without a key, requests have no header for a key or token."""
    with StrictPandaProbe() as server:
        run_without_key(server.url)

    assert server.log
    for entry in server.log:
        assert "x-api-key" not in entry.headers
        assert "authorization" not in entry.headers


def test_a_server_that_wants_a_key_is_answered_by_one_clear_line() -> None:
    """If the server needs a key, one line names the setting and does not mention a revoked key."""
    with LocalServer(auth=True) as server:
        result = run_without_key(server.url)

    refused = [line for line in result.stderr.splitlines() if "API key" in line]
    assert result.stdout == "False\n"
    assert len(refused) == 1
    assert "got none: set PANDAPROBE_API_KEY" in refused[0]
    assert "revoked" not in result.stderr


def test_clients_say_that_there_is_no_key(tmp_path: Path) -> None:
    """Both clients and the doctor name the missing key."""
    with LocalServer(auth=True) as server:
        with pytest.raises(AuthError, match="No API key is set"), Client(endpoint=server.url) as client:
            list(client.traces.list())

        async def ask() -> None:
            async with AsyncClient(endpoint=server.url) as other:
                await other.traces.get("00000000-0000-0000-0000-000000000001")

        with pytest.raises(AuthError, match="No API key is set"):
            asyncio.run(ask())
        doctor = run_here("doctor", environment=clean_environment(tmp_path, PANDAPROBE_ENDPOINT=server.url))

    assert "set PANDAPROBE_API_KEY" in " ".join(doctor.stdout.split())


def test_a_token_without_a_project_is_not_helped_out_by_a_key() -> None:
    """For a route of a project, a client with a token but without a project raises before any request."""
    with LocalServer() as server, Client(endpoint=server.url, token="any") as client:
        assert client.organizations.list()
        with pytest.raises(ConfigError, match="needs an API key"):
            list(client.traces.list())


TRACED_OFTEN = """
import pandaprobe_otel
from opentelemetry import trace
handle = pandaprobe_otel.init(instrument=False)
for _ in range(3):
    with trace.get_tracer("app").start_as_current_span("answer", attributes={"gen_ai.operation.name": "chat"}):
        pass
    print(handle.flush(4))
"""


def post_old_trace(server: LocalServer, project: str) -> None:
    """Store a trace of yesterday."""
    begun = (datetime.now(UTC) - timedelta(days=1)).isoformat()
    body = {"trace_id": str(uuid4()), "name": "old", "status": "COMPLETED", "started_at": begun, "spans": []}
    headers = {"X-API-Key": server.api_key, "X-Project-Name": project, "Content-Type": "application/json"}
    request = urllib.request.Request(f"{server.url}/traces", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request) as answer:
        assert answer.status == 202


@pytest.mark.parametrize(
    ("project", "address", "is_logged"),
    [
        ("shpo", "127.0.0.2", True),
        ("shop", "127.0.0.2", False),
        (None, "127.0.0.2", False),
        ("shpo", "127.0.0.1", False),
    ],
    ids=["misspelt", "known", "default", "on this machine"],
)
def test_a_project_without_traces_is_logged_once(project: str | None, address: str, is_logged: bool) -> None:
    """One line names the project and the setting, if the app named it; a server on this machine shows its projects."""
    with LocalServer(host="0.0.0.0", auth=True) as server:
        post_old_trace(server, "shop")
        url = server.url.replace("0.0.0.0", address).replace("127.0.0.1", address)
        given = {**environment(url), "PANDAPROBE_API_KEY": server.api_key}
        given.pop("PANDAPROBE_PROJECT_NAME", None)
        result = run_python(TRACED_OFTEN, given if project is None else {**given, "PANDAPROBE_PROJECT_NAME": project})
    assert (result.returncode, result.stdout) == (0, "True\n" * 3)
    assert result.stderr.count("Project 'shpo' had no traces at PandaProbe before") == is_logged
    assert result.stderr.count("PANDAPROBE_PROJECT_NAME") == is_logged
