"""Start, stop and failure of a local server."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from pandaprobe_otel.config.resolve import Config
from pandaprobe_otel.errors import ConfigError
from pandaprobe_otel.local import DatabaseInUseError, LocalServer, serve
from pandaprobe_otel.local.injected_faults import Faults
from pandaprobe_otel.local.middleware import OuterLayer

STARTED = "2026-01-02T03:04:05.678901+00:00"
TRACE = {"name": "t", "started_at": STARTED}


def client(server: LocalServer, **headers: str) -> httpx.Client:
    """Return an HTTP client of project `p` with the server's key."""
    return httpx.Client(
        base_url=server.url,
        headers={"X-API-Key": server.api_key, "X-Project-Name": "p", **headers},
        trust_env=False,
    )


def test_a_trace_is_readable_as_soon_as_it_was_accepted() -> None:
    """The answer 202 means that the trace can be read."""
    with LocalServer() as server, client(server) as http:
        accepted = http.post("/traces", json=TRACE)
        read = http.get(f"/traces/{accepted.json()['trace_id']}")
    assert (accepted.status_code, read.status_code) == (202, 200)
    assert read.json()["started_at"] == STARTED


def test_start_and_stop_may_be_repeated() -> None:
    """Start and stop can be repeated, and a stopped server's error explains what to do."""
    server = LocalServer()
    url = server.start().url
    assert server.start().url == url
    server.stop()
    server.stop()
    with pytest.raises(RuntimeError, match="not running"):
        _ = server.url
    with pytest.raises(httpx.ConnectError):
        httpx.get(url + "/health", trust_env=False, timeout=60)


def test_an_address_other_machines_reach_needs_auth() -> None:
    """A server without auth refuses an address that other machines can reach."""
    with pytest.raises(ConfigError, match="auth=True"):
        LocalServer(host="0.0.0.0")


def test_a_taken_port_is_an_os_error_and_leaves_the_database_free(tmp_path: Path) -> None:
    """A port in use raises OSError, and the database can be opened afterwards."""
    db = tmp_path / "p.db"
    with LocalServer() as first:
        port = int(first.url.rsplit(":", 1)[1])
        with pytest.raises(OSError, match="in use"):
            LocalServer(db, port=port).start()
    with LocalServer(db) as server:
        assert httpx.get(server.url + "/health", trust_env=False, timeout=60).status_code == 200


def test_a_file_belongs_to_one_server_at_a_time(tmp_path: Path) -> None:
    """A second server on the same file gets an error until the first has stopped."""
    db = tmp_path / "p.db"
    with LocalServer(db), pytest.raises(DatabaseInUseError, match="another process"):
        LocalServer(db).start()
    with LocalServer(db) as server:
        assert server.alive


def test_an_accepted_trace_survives_a_killed_process(tmp_path: Path) -> None:
    """Every trace that was answered with 202 is stored after kill -9, and a server can open the file again."""
    db = tmp_path / "p.db"
    program = (
        "import signal, sys; from pandaprobe_otel.local import LocalServer\n"
        f"s = LocalServer({str(db)!r}, limit=None).start(); print(s.url, flush=True); signal.pause()"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        headers = {"X-API-Key": "sk_pp_local", "X-Project-Name": "p"}
        with httpx.Client(base_url=url, headers=headers, trust_env=False, timeout=60) as http:
            accepted = [http.post("/traces", json=TRACE).json()["trace_id"] for _ in range(20)]
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
    with LocalServer(db) as server, client(server) as http:
        stored = {item["trace_id"] for item in http.get("/traces").json()["items"]}
    assert stored == set(accepted)


def test_serve_prints_how_to_use_it_and_ends_on_sigterm(tmp_path: Path) -> None:
    """`serve` prints the URL, a key and the lines to set, and exits cleanly on SIGTERM."""
    program = f"from pandaprobe_otel.local import serve; serve(db={str(tmp_path / 'p.db')!r}, port=0)"
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout:
        printed = ""
        while "Ctrl-C" not in printed:
            printed += process.stdout.readline()
    url = printed.split()[4]
    assert f"export PANDAPROBE_ENDPOINT={url}" in printed
    assert "export PANDAPROBE_API_KEY=sk_pp_local" in printed
    assert httpx.get(url + "/health", trust_env=False, timeout=60).status_code == 200
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 0


def test_serve_refuses_an_open_address() -> None:
    """`serve` refuses an open address before it prints anything."""
    out = io.StringIO()
    with pytest.raises(ConfigError):
        serve(host="0.0.0.0", port=0, out=out)
    assert out.getvalue() == ""


def test_a_foreign_host_header_is_refused() -> None:
    """A host name that a web page could point at this machine is refused; localhost and loopback names are served."""
    with LocalServer() as server:
        port = server.url.rsplit(":", 1)[1]
        statuses = {
            host: httpx.get(server.url + "/health", headers={"Host": host}, trust_env=False, timeout=60).status_code
            for host in (*FOREIGN_HOSTS, f"evil.example:{port}", f"localhost:{port}", f"127.0.0.1:{port}", "[::1]")
        }
    assert list(statuses.values()) == [400] * (len(FOREIGN_HOSTS) + 1) + [200, 200, 200]


FOREIGN_HOSTS = (
    "evil.example",
    "[::1]evil",
    "[::1].evil.example",
    "[::1",
    "localhost.evil.example",
    "localhost:80@evil",
    "",
)


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://localhost:1", "http://127.0.0.1"])
def test_a_page_of_another_site_changes_nothing(method: str, origin: str) -> None:
    """Requests that change data are refused if the browser names another origin."""
    with LocalServer() as server:
        for path in ("/organizations", "/traces", "/ui/sign-in", "/evaluations/monitors/1"):
            answer = httpx.request(method, server.url + path, headers={"Origin": origin}, trust_env=False, timeout=60)
            assert answer.status_code == 403, path
            assert "another site" in answer.text


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_a_page_of_our_own_may(name: str) -> None:
    """A request whose origin is the server's own address is accepted."""
    with LocalServer() as server:
        url = server.url.replace("127.0.0.1", name)
        made = httpx.post(
            url + "/organizations", json={"name": "own"}, headers={"Origin": url}, trust_env=False, timeout=60
        )

    assert made.status_code == 201


@pytest.mark.parametrize(
    "content_type", [None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"]
)
def test_a_body_that_is_not_called_json_is_none(content_type: str | None) -> None:
    """A body without a JSON content type is refused: any site may send one, and FastAPI before 0.132 parses it."""
    headers = {} if content_type is None else {"Content-Type": content_type}
    with LocalServer() as server, httpx.Client(base_url=server.url, trust_env=False, timeout=60) as http:
        answer = http.post("/organizations", content=b'{"name": "sent"}', headers=headers)
        names = [one["name"] for one in http.get("/organizations").json()]

    assert answer.status_code == 422
    assert "sent" not in names


def test_no_version_of_the_framework_sees_a_body_without_a_type() -> None:
    """The outer layer sets a content type on a body without one, before FastAPI reads the request."""
    seen: list[Any] = []

    async def inner(scope: Any, receive: Any, send: Any) -> None:
        seen.append(dict(scope["headers"]).get(b"content-type"))

    layer = OuterLayer(inner, faults=Faults(), allowed_hosts=frozenset({"localhost"}))
    for method, headers in (("POST", []), ("POST", [(b"content-type", b"application/json")]), ("GET", [])):
        scope = {"type": "http", "method": method, "path": "/traces", "headers": [(b"host", b"localhost"), *headers]}
        asyncio.run(layer(scope, None, None))  # type: ignore[arg-type]

    assert seen == [b"application/octet-stream", b"application/json", None]


def test_unknown_keys_are_good_until_one_is_made() -> None:
    """Without auth any key is valid until the first key is made; then only known keys and `sk_pp_local` are."""
    with LocalServer() as server:
        statuses = [httpx.Client(base_url=server.url, trust_env=False, timeout=60)]
        with statuses[0] as http:

            def status(key: str) -> int:
                return http.get("/traces", headers={"X-API-Key": key, "X-Project-Name": "p"}).status_code

            before = status("anything")
            made = server.make_key()
            after = [status(key) for key in ("anything", made, "sk_pp_local")]
    assert before == 200
    assert after == [401, 200, 200]


def test_with_auth_only_known_keys_and_the_token_are_good() -> None:
    """With auth the local key is refused, and management routes require the server's token."""
    with (
        LocalServer(auth=True, api_keys=["sk_pp_mine"]) as server,
        httpx.Client(base_url=server.url, timeout=60) as http,
    ):
        keys = [
            http.get("/traces", headers={"X-API-Key": key, "X-Project-Name": "p"}).status_code
            for key in ("sk_pp_mine", "sk_pp_local")
        ]
        tokens = [
            http.get("/organizations", headers={"Authorization": f"Bearer {token}"}).status_code
            for token in (server.token, "guess", "sk_pp_mine")
        ]
        none = http.get("/organizations")
        assert server.api_key == "sk_pp_mine"
    assert keys == [200, 401]
    assert tokens == [200, 401, 401]
    assert none.json() == {"detail": "Bearer token required. Provide Authorization: Bearer <token>."}


def test_queued_faults_hit_the_next_requests_in_order() -> None:
    """Queued faults apply to the next requests in order; `drop_after` processes its request before the failure."""
    with LocalServer() as server, client(server) as http:
        server.faults.next(500, 503, "drop", "drop_after")
        plain = http.post("/traces", json=TRACE)
        other = http.post("/traces", json=TRACE)
        for _ in range(2):
            with pytest.raises(httpx.TransportError):
                http.post("/traces", json=TRACE)
        total = http.get("/traces").json()["total"]
    assert (plain.status_code, plain.text, other.status_code) == (500, "Internal Server Error", 503)
    assert "x-request-id" not in plain.headers
    assert total == 1


def test_the_share_of_failing_requests_is_repeatable() -> None:
    """With one seed the same requests fail, and about the wanted share of them."""
    outcomes: list[list[int]] = []
    for _ in range(2):
        with LocalServer(fail=0.3, limit=None) as server, client(server) as http:
            outcomes.append([http.get("/traces").status_code for _ in range(60)])
    assert outcomes[0] == outcomes[1]
    assert 8 <= outcomes[0].count(500) <= 30


def test_a_slow_server_is_slow() -> None:
    """`slow_s` delays every API answer."""
    with LocalServer(slow_s=0.15) as server, client(server) as http:
        begun = time.monotonic()
        http.get("/traces")
        assert time.monotonic() - begun >= 0.15


def test_a_used_up_quota_is_no_rate_limit() -> None:
    """With `quota_used_up` the server answers 429 with `detail`, and reading still works."""
    with LocalServer() as server, client(server) as http:
        server.faults.quota_used_up = True
        refused = http.post("/traces", json=TRACE)
        assert http.get("/traces").status_code == 200
    assert refused.status_code == 429
    assert refused.json() == {
        "detail": "You've reached the traces limit (100) for your HOBBY plan. Please upgrade to continue."
    }


def test_a_hobby_key_runs_out() -> None:
    """A key of a HOBBY organization is refused once its quota of traces is used up; repeated ids count too."""
    with LocalServer() as server:
        key = server.make_key(plan="HOBBY", used_traces=99)
        with client(server, **{"X-API-Key": key}) as http:
            body = {**TRACE, "trace_id": "00000000-0000-4000-8000-000000000001"}
            assert [http.post("/traces", json=body).status_code for _ in range(2)] == [202, 429]


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="counts open files through /proc")
def test_servers_leave_no_open_files() -> None:
    """Starting and stopping servers leaves no socket or database file open."""
    with LocalServer():
        pass
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with LocalServer() as server:
            httpx.get(server.url + "/health", trust_env=False, timeout=60)
    assert len(os.listdir("/proc/self/fd")) <= before


def test_the_environment_leads_a_program_to_the_server(tmp_path: Path) -> None:
    """`environment` returns the variables that the exporter reads."""
    with LocalServer() as server:
        config = Config.resolve(environ=server.environment("shop"), file=tmp_path / "none.yaml")
        assert (config.endpoint, config.api_key, config.project_name) == (server.url, server.api_key, "shop")


def test_the_documentation_it_announces_exists() -> None:
    """`/` names two pages of documentation, and both lead to the API description."""
    with LocalServer() as server, client(server) as http:
        announced = http.get("/").json()
        pages = [http.get(announced[name], follow_redirects=True) for name in ("docs", "scalar")]
    assert [page.json()["info"]["title"] for page in pages] == ["PandaProbe", "PandaProbe"]


_TRACED_PROCESS = """
import httpx
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pandaprobe_otel.local import LocalServer

exporter = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(provider)
with LocalServer() as server:
    headers = {"X-API-Key": server.api_key, "X-Project-Name": "p"}
    httpx.get(server.url + "/traces", headers=headers, trust_env=False, timeout=60)
print([span.name for span in exporter.get_finished_spans()])
"""


def test_the_server_does_not_trace_itself() -> None:
    """Requests to the server create no spans, even if its process has a tracer provider."""
    told = subprocess.run([sys.executable, "-c", _TRACED_PROCESS], capture_output=True, text=True, check=False)
    assert told.stdout.strip() == "[]", told.stderr
