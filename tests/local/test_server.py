"""Start, stop and failure of a local server."""

from __future__ import annotations

import itertools
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from local_http import http_of
from pandaprobe_otel.errors import PandaProbeError
from pandaprobe_otel.local import DatabaseInUseError, LocalServer
from pandaprobe_otel.local.store import schema

STARTED = "2026-01-02T03:04:05.678901+00:00"
TRACE = {"name": "t", "started_at": STARTED}


@pytest.fixture(scope="module")
def shared() -> Generator[LocalServer]:
    """Yield a server of the tests that need none of their own."""
    with LocalServer() as running:
        yield running


def test_start_and_stop_may_be_repeated(tmp_path: Path) -> None:
    """A stopped server's error explains what to do; a file belongs to one server at a time; nothing stays open."""
    db = tmp_path / "p.db"
    server = LocalServer(db)
    url = server.start().url
    assert server.start().url == url
    with pytest.raises(DatabaseInUseError, match="another process"):
        LocalServer(db).start()
    server.stop()
    server.stop()
    with pytest.raises(RuntimeError, match="not running"):
        _ = server.url
    with pytest.raises(httpx.ConnectError):
        httpx.get(url + "/health", trust_env=False, timeout=60)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with LocalServer(db) as again:
            httpx.get(again.url + "/health", trust_env=False, timeout=60)
    assert len(os.listdir("/proc/self/fd")) <= before


def test_a_taken_port_is_an_os_error_and_leaves_the_database_free(tmp_path: Path) -> None:
    """A port in use raises OSError, and the database can be opened afterwards."""
    db = tmp_path / "p.db"
    with LocalServer() as first:
        port = int(first.url.rsplit(":", 1)[1])
        with pytest.raises(OSError, match="in use"):
            LocalServer(db, port=port).start()
    with LocalServer(db) as server:
        assert httpx.get(server.url + "/health", trust_env=False, timeout=60).status_code == 200


def test_a_database_that_cannot_be_used_names_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of a later version is refused and stays as it is; an SQLite without full-text search is named."""
    with closing(sqlite3.connect(tmp_path / "later.db")) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(PandaProbeError, match=r"has format 99, .* reads format 3: .*--db"):
        LocalServer(tmp_path / "later.db").start()

    tables = f"{schema.__name__}._TABLES"
    monkeypatch.setattr(tables, "CREATE VIRTUAL TABLE words USING no_fts5(body);")  # as SQLite answers without FTS5
    with pytest.raises(PandaProbeError, match=r"has no FTS5.*use a build of Python with it"):
        LocalServer(tmp_path / "new.db").start()


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
        headers = {"X-API-Key": "sk_pp_local", "X-Project-Name": "shop"}
        with httpx.Client(base_url=url, headers=headers, trust_env=False, timeout=60) as http:
            accepted = [http.post("/traces", json=TRACE).json()["trace_id"] for _ in range(20)]
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
    with LocalServer(db) as server, http_of(server) as http:
        stored = {item["trace_id"] for item in http.get("/traces").json()["items"]}
    assert stored == set(accepted)


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


@pytest.mark.parametrize(
    "content_type", [None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"]
)
def test_a_body_that_is_not_called_json_is_none(shared: LocalServer, content_type: str | None) -> None:
    """A body without a JSON content type is refused: any site may send one, and FastAPI before 0.132 parses it."""
    headers = {} if content_type is None else {"Content-Type": content_type}
    with httpx.Client(base_url=shared.url, trust_env=False, timeout=60) as http:
        answer = http.post("/organizations", content=b'{"name": "sent"}', headers=headers)
        names = [one["name"] for one in http.get("/organizations").json()]

    assert answer.status_code == 422
    assert "sent" not in names


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://localhost:1", "http://127.0.0.1"])
def test_a_page_of_another_site_changes_nothing(shared: LocalServer, origin: str) -> None:
    """Requests that change data are refused if the browser names another origin than the server's own."""
    with http_of(shared) as http:
        for method, path in itertools.product(("POST", "PUT", "PATCH", "DELETE"), ("/organizations", "/traces", "/ui")):
            answer = http.request(method, path, headers={"Origin": origin})
            assert (answer.status_code, "another site" in answer.text) == (403, True), path
        for name in ("127.0.0.1", "localhost"):
            url = shared.url.replace("127.0.0.1", name)
            assert http.post(f"{url}/traces", json=TRACE, headers={"Origin": url}).status_code == 202


def test_keys_and_tokens() -> None:
    """Any key is good until the first is made; with auth only known keys are, and management needs the token."""
    with (
        LocalServer() as unlocked,
        LocalServer(auth=True, api_keys=["sk_pp_mine"]) as server,
        httpx.Client(timeout=60, trust_env=False) as http,
    ):

        def status(url: str, key: str) -> int:
            return http.get(f"{url}/traces", headers={"X-API-Key": key, "X-Project-Name": "p"}).status_code

        assert status(unlocked.url, "anything") == 200
        made = unlocked.make_key()
        assert [status(unlocked.url, key) for key in ("anything", made, "sk_pp_local")] == [401, 200, 200]
        assert server.api_key == "sk_pp_mine"
        assert [status(server.url, key) for key in ("sk_pp_mine", "sk_pp_local")] == [200, 401]
        path = f"{server.url}/organizations"
        tokens = [{"Authorization": f"Bearer {token}"} for token in (server.token, "guess", "sk_pp_mine")]
        assert [http.get(path, headers=headers).status_code for headers in (*tokens, {})] == [200, 401, 401, 401]


def test_faults_can_be_injected() -> None:
    """Queued faults apply to the next requests in order; `drop_after` processes its request before the failure.

    With one seed the same share of requests fails. `slow_s` delays answers. A used-up quota is no rate limit.
    """
    with LocalServer(slow_s=0.15) as server, http_of(server) as http:
        server.faults.next(500, 503, "drop", "drop_after")
        begun = time.monotonic()
        plain, other = (http.post("/traces", json=TRACE) for _ in range(2))
        for _ in range(2):
            with pytest.raises(httpx.TransportError):
                http.post("/traces", json=TRACE)
        assert http.get("/traces").json()["total"] == 1
        assert time.monotonic() - begun >= 0.15
        server.faults.quota_used_up = True
        refused = http.post("/traces", json=TRACE)
        assert (refused.status_code, "traces limit (100)" in refused.json()["detail"]) == (429, True)
        assert http.get("/traces").status_code == 200
    assert (plain.status_code, plain.text, other.status_code) == (500, "Internal Server Error", 503)
    assert "x-request-id" not in plain.headers
    outcomes: list[list[int]] = []
    for _ in range(2):
        with LocalServer(fail=0.3, limit=None) as server, http_of(server) as http:
            outcomes.append([http.get("/traces").status_code for _ in range(60)])
    assert outcomes[0] == outcomes[1]
    assert 8 <= outcomes[0].count(500) <= 30


def test_the_window_of_a_limit() -> None:
    """A window opens at the first request of a key and path, refusals do not extend it, and Retry-After suffices."""
    with LocalServer(limit=2, window_s=2) as server, http_of(server) as http:
        begun = time.monotonic()
        statuses = [http.post("/traces", json=TRACE).status_code for _ in range(2)]
        answers = [http.post("/traces", json=TRACE)]
        assert http.post("/traces", json=TRACE, headers={"X-API-Key": "other"}).status_code == 202
        while answers[-1].status_code == 429 and time.monotonic() - begun < 60:
            time.sleep(0.1)
            answers.append(http.post("/traces", json=TRACE))
    assert statuses == [202, 202]
    assert answers[0].json()["error"].startswith("Rate limit exceeded: 2 per ")
    assert 1 <= int(answers[0].headers["retry-after"]) <= 2
    assert answers[-1].status_code == 202
    with LocalServer(limit=None) as server, http_of(server) as http:
        assert {http.get("/traces").status_code for _ in range(210)} == {200}


def test_the_description_has_every_published_operation() -> None:
    """Each of the 58 operations that PandaProbe documents is served under the same path and method, pages are not."""
    published = (Path(__file__).parent / "data" / "operations.txt").read_text(encoding="utf-8").splitlines()
    with LocalServer() as server, http_of(server) as http:
        announced = http.get("/").json()
        pages = [http.get(announced[name], follow_redirects=True).json() for name in ("docs", "scalar")]
    paths = pages[0]["paths"]
    served = {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}
    assert pages[0] == pages[1]
    assert len(published) == 58
    assert set(published) - served == set()
    assert not [path for path in paths if path.startswith("/ui")]


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
    assert server.environment("shop")["PANDAPROBE_ENDPOINT"] == server.url
print([span.name for span in exporter.get_finished_spans()])
"""


def test_the_server_does_not_trace_itself() -> None:
    """Requests to the server create no spans, even if its process has a tracer provider."""
    done = subprocess.run([sys.executable, "-c", _TRACED_PROCESS], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[]", done.stderr


def test_keys_are_rotated() -> None:
    """The old key stays valid; an expired key can be rotated; a key without expiry or a revoked one stays unchanged."""
    with LocalServer(limit=None) as server, httpx.Client(base_url=server.url, trust_env=False, timeout=60) as http:
        http.headers["Authorization"] = "Bearer any"
        accounts = server.services.accounts
        keys = f"/organizations/{accounts.home.id}/api-keys"

        def use(key: str) -> int:
            return http.get("/traces", headers={"X-API-Key": key, "X-Project-Name": "p"}).status_code

        old = http.post(keys, json={"name": "k", "expiration": "90d"}).json()
        late, secret = accounts.add_key(accounts.home.id, "late", expires_at=server.services.now() - 1)
        assert http.get(f"{keys}/{late.id}").json()["is_active"] is False
        for key_id, raw_key, status in ((old["id"], old["raw_key"], 200), (late.id, secret, 401)):
            new = http.post(f"{keys}/{key_id}/rotate").json()
            assert new["raw_key"] not in (None, raw_key)
            assert (use(raw_key), use(new["raw_key"])) == (status, 200)

        never = http.post(keys, json={"name": "k", "expiration": "never"}).json()
        http.delete(f"{keys}/{old['id']}")
        for key, words, status in ((never, "Only keys with an expiration", 200), (old, "Cannot rotate a revoked", 401)):
            answer = http.post(f"{keys}/{key['id']}/rotate")
            assert (answer.status_code, answer.json()["detail"].startswith(words)) == (422, True)
            assert use(key["raw_key"]) == status
