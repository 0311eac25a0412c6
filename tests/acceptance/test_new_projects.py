"""A project name that PandaProbe does not know yet: it makes a new project, so the app's log says so once."""

from __future__ import annotations

import json
import urllib.request
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from pandaprobe_otel.local import LocalServer
from subprocesses import environment, run_python

TRACED = """
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
    ("project", "address", "is_told"),
    [
        ("shpo", "127.0.0.2", True),
        ("shop", "127.0.0.2", False),
        (None, "127.0.0.2", False),
        ("shpo", "127.0.0.1", False),
    ],
    ids=["misspelt", "known", "default", "on this machine"],
)
def test_a_project_without_traces_is_told_once(project: str | None, address: str, is_told: bool) -> None:
    """One line names the project and the setting, if the app named it; a server on this machine shows its projects."""
    with LocalServer(host="0.0.0.0", auth=True) as server:
        post_old_trace(server, "shop")
        url = server.url.replace("0.0.0.0", address).replace("127.0.0.1", address)
        given = {**environment(url), "PANDAPROBE_API_KEY": server.api_key}
        given.pop("PANDAPROBE_PROJECT_NAME", None)
        result = run_python(TRACED, given if project is None else {**given, "PANDAPROBE_PROJECT_NAME": project})
    assert (result.returncode, result.stdout) == (0, "True\n" * 3)
    assert result.stderr.count("Project 'shpo' had no traces at PandaProbe before") == is_told
    assert result.stderr.count("PANDAPROBE_PROJECT_NAME") == is_told
