"""`pandaprobe-otel doctor`, as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from command_line import clean_environment, run_command_line, run_here
from pandaprobe_otel.cli.doctor import masked
from pandaprobe_otel.cli.inventory import installed_version
from pandaprobe_otel.config.settings import SETTINGS
from pandaprobe_otel.local import LocalServer
from scripted_api import Asked, ScriptedApi, Told

KEY = "sk_pp_0123456789abcdef0123456789abcdef"
SCOPE = {"detail": "Project scope required. Provide X-Project-ID (Bearer) or X-Project-Name (API key)."}


def doctor(*arguments: str, home: Path, **variables: str) -> tuple[int, dict[str, Any]]:
    """Run the command and return its exit code and its JSON."""
    environment = clean_environment(home, **variables)
    done = run_here("doctor", "--format", "json", *arguments, environment=environment)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def test_it_shows_every_setting_with_its_source(tmp_path: Path) -> None:
    """Every setting is listed with its value and its source."""
    code, report = doctor(
        "--offline", home=tmp_path, PANDAPROBE_API_KEY=KEY, PANDAPROBE_PROJECT_NAME="shop", OTEL_SERVICE_NAME="web"
    )

    rows = {row["name"]: row for row in report["settings"]}
    assert code == 0
    assert list(rows) == [setting.name for setting in SETTINGS]
    assert (rows["project_name"]["value"], rows["project_name"]["source"]) == ("shop", "PANDAPROBE_PROJECT_NAME")
    assert (rows["service_name"]["value"], rows["service_name"]["source"]) == ("web", "OTEL_SERVICE_NAME")
    assert rows["capture"]["source"] == "default"


def test_versions_are_those_of_the_library_and_not_of_its_neighbours(tmp_path: Path) -> None:
    """Each library is shown with its own version, even if distributions share a module such as `google`."""
    _, report = doctor("--offline", home=tmp_path)

    assert {library["name"]: library["installed"] for library in report["libraries"]}["mcp"] == installed_version("mcp")
    for library in report["libraries"]:
        distribution = {"google_genai": "google-genai", "google_adk": "google-adk", "openai": "openai"}.get(
            library["name"]
        )
        if distribution:
            assert library["installed"] == installed_version(distribution), library["name"]


def test_it_never_shows_a_secret(tmp_path: Path) -> None:
    """Neither the key nor a password in a URL is printed, in either format."""
    environment = clean_environment(
        tmp_path, PANDAPROBE_API_KEY=KEY, PANDAPROBE_REDIS_URL="redis://user:hunter2@cache:6379/0"
    )
    for output in ("json", "table"):
        done = run_here("doctor", "--offline", "--format", output, environment=environment)
        assert KEY not in done.stdout
        assert "hunter2" not in done.stdout
        assert "sk_pp_…cdef" in done.stdout
        assert "redis://***@cache:6379/0" in done.stdout


@pytest.mark.parametrize(
    ("secret", "shown"),
    [("short", "*** (5 characters)"), ("redis://cache/0", "redis://cache/0"), ("sk_pp_" + "a" * 30, "sk_pp_…aaaa")],
)
def test_a_secret_is_masked(secret: str, shown: str) -> None:
    """A masked secret shows only what its owner can recognise."""
    assert masked(secret) == shown


def test_a_good_key_is_recognised_without_naming_a_project(tmp_path: Path) -> None:
    """The check sends the key without a project, so that the server creates none; the answer 422 means a good key."""
    with ScriptedApi() as server:
        server.tell("GET /traces", Told(status=422, body=SCOPE))
        code, report = doctor(home=tmp_path, PANDAPROBE_API_KEY=KEY, PANDAPROBE_ENDPOINT=server.url)

    (asked,) = server.asked
    assert (asked.method, asked.path) == ("GET", "/traces")
    assert asked.headers["x-api-key"] == KEY
    assert "x-project-name" not in asked.headers
    assert (code, report["key"]["state"]) == (0, "good")


def test_the_check_of_a_key_creates_no_project(tmp_path: Path) -> None:
    """Checking a good or a bad key creates no project on the server."""
    with LocalServer(auth=True) as server:
        before = _projects(server)
        good, _ = doctor(home=tmp_path, PANDAPROBE_API_KEY=server.api_key, PANDAPROBE_ENDPOINT=server.url)
        bad, report = doctor(home=tmp_path, PANDAPROBE_API_KEY=KEY, PANDAPROBE_ENDPOINT=server.url)
        after = _projects(server)

    assert (good, bad) == (0, 2)
    assert "Invalid or revoked API key" in report["key"]["message"]
    assert after == before


def _projects(server: LocalServer) -> list[str]:
    with httpx.Client(
        base_url=server.url, headers={"Authorization": f"Bearer {server.token}"}, trust_env=False
    ) as client:
        (organization,) = client.get("/organizations").json()
        return [project["name"] for project in client.get(f"/organizations/{organization['id']}/projects").json()]


@pytest.mark.parametrize(
    ("status", "body", "exit_code", "state", "words"),
    [
        (401, '{"detail":"Invalid or revoked API key."}', 2, "refused", "Invalid or revoked"),
        (401, '{"detail":"API key has expired. Please generate a new one."}', 2, "refused", "expired"),
        (429, '{"error":"Rate limit exceeded: 200 per 1 minute"}', 5, "unclear", "in a minute"),
        (404, '{"detail":"Not Found"}', 5, "unclear", "base URL"),
        (500, "Internal Server Error", 5, "unreachable", "500"),
    ],
)
def test_other_answers_have_their_exit_code(
    tmp_path: Path, status: int, body: str, exit_code: int, state: str, words: str
) -> None:
    """A refused key ends with code 2, any other answer with 5, and the message has the server's text."""
    with ScriptedApi() as server:
        server.tell("GET /traces", Told(status=status, body=body))
        code, report = doctor(home=tmp_path, PANDAPROBE_API_KEY=KEY, PANDAPROBE_ENDPOINT=server.url)

    assert (code, report["key"]["state"]) == (exit_code, state)
    assert words in report["key"]["message"]


def test_an_endpoint_that_is_not_there_is_named(tmp_path: Path) -> None:
    """An endpoint without a server ends with code 5 and a reason."""
    with ScriptedApi() as server:
        closed = server.url
    code, report = doctor(home=tmp_path, PANDAPROBE_API_KEY=KEY, PANDAPROBE_ENDPOINT=closed)

    assert (code, report["key"]["state"]) == (5, "unreachable")
    assert "refused" in report["key"]["message"].lower()
    assert closed in report["key"]["message"]


@pytest.mark.parametrize(
    ("status", "detail"), [(401, "Missing credentials. Provide X-API-Key header."), (422, SCOPE["detail"])]
)
def test_a_server_on_this_machine_that_requires_a_key(tmp_path: Path, status: int, detail: str) -> None:
    """Without a key, a server that requires one is not taken for an open one, and the message names the variable."""
    with ScriptedApi() as server:
        server.tell("GET /traces", Told(status=status, body={"detail": detail}))
        code, report = doctor(home=tmp_path, PANDAPROBE_ENDPOINT=server.url)

    assert (code, report["key"]["state"]) == (2, "refused")
    assert "set PANDAPROBE_API_KEY" in report["key"]["message"]


def test_an_open_server_is_recognised_without_creating_a_project(tmp_path: Path) -> None:
    """Without a key, an open local server is reported as one, and gets no new project."""
    with LocalServer() as server:
        before = _projects(server)
        code, report = doctor(home=tmp_path, PANDAPROBE_ENDPOINT=server.url)
        after = _projects(server)

    assert (code, report["key"]["state"], report["key"]["message"]) == (0, "good", "the endpoint needs no key")
    assert after == before


@pytest.mark.parametrize("key", ["", "your-api-key", "<key>"])
def test_without_a_key_it_says_which_variable_to_set(tmp_path: Path, key: str) -> None:
    """A missing or placeholder key ends with code 2, without a request, and the message names the variable to set."""
    code, report = doctor(home=tmp_path, PANDAPROBE_API_KEY=key)

    assert (code, report["key"]["state"]) == (2, "not asked")
    (problem,) = report["problems"]
    assert "PANDAPROBE_API_KEY" in problem["message"]


def test_a_bad_setting_is_shown_with_its_source(tmp_path: Path) -> None:
    """A setting that cannot be read ends with code 4, and the message names its variable."""
    code, report = doctor("--offline", home=tmp_path, PANDAPROBE_API_KEY=KEY, PANDAPROBE_SAMPLE_RATE="ten")

    assert code == 4
    (problem,) = report["problems"]
    assert problem["setting"] == "sample_rate"
    assert "PANDAPROBE_SAMPLE_RATE" in problem["message"]


def test_misspelt_and_unread_variables_are_noted(tmp_path: Path) -> None:
    """A misspelt variable is a problem that names the intended one; one that the library does not read is noted."""
    code, report = doctor(
        "--offline",
        home=tmp_path,
        PANDAPROBE_API_KEY=KEY,
        PANDAPROBE_PROJECT="shop",
        PANDAPROBE_BATCH_SIZE="10",
        PANDAPROBE_TEAM="a variable of the app",
        TRACELOOP_TRACE_CONTENT="false",
        OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT="4095",
    )

    notes = "\n".join(report["notes"])
    (problem,) = report["problems"]
    assert code == 4
    assert "PANDAPROBE_PROJECT is not a setting" in problem["message"]
    assert "Did you mean PANDAPROBE_PROJECT_NAME?" in problem["message"]
    assert "PANDAPROBE_TEAM is not a setting." in notes
    assert "PANDAPROBE_BATCH_SIZE is not read by this library" in notes
    assert "TRACELOOP_TRACE_CONTENT=false" in notes
    assert "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT=4095 makes OpenTelemetry truncate" in notes


def test_it_lists_what_can_be_instrumented(tmp_path: Path) -> None:
    """Each library is listed with its version, its instrumentor and its state, with the reason if it is skipped."""
    from importlib.metadata import version

    _, report = doctor("--offline", home=tmp_path, PANDAPROBE_API_KEY=KEY, PANDAPROBE_EXCLUDE="anthropic")
    listed = {library["name"]: library for library in report["libraries"]}

    assert listed["openai"]["installed"] == version("openai")
    assert listed["openai"]["instrumentor"] == "pandaprobe_openai"
    assert listed["openai"]["state"] == "hooked"
    assert (listed["anthropic"]["state"], listed["anthropic"]["reason"]) == ("skipped", "excluded")


def test_the_table_says_the_same(tmp_path: Path) -> None:
    """The table for people has the settings, the problem and the remedy."""
    environment = clean_environment(tmp_path, PANDAPROBE_PROJECT_NAME="shop")
    done = run_command_line("doctor", "--offline", environment=environment)

    assert done.returncode == 2
    for words in ("PANDAPROBE_PROJECT_NAME", "shop", "Problem (api_key)", "pandaprobe-otel local", "openai"):
        assert words in done.stdout


def test_send_tells_whether_a_trace_really_arrives(tmp_path: Path) -> None:
    """`--send` sends a trace as an app would, reads it back, and compares the clocks."""
    with LocalServer() as server:
        environment = clean_environment(tmp_path, **server.environment("shop"))
        done = run_command_line("doctor", "--send", "--format", "json", environment=environment)
        listed = httpx.get(
            f"{server.url}/traces", headers={"X-API-Key": "k", "X-Project-Name": "shop"}, timeout=60
        ).json()

    trip = json.loads(done.stdout)["round_trip"]
    assert done.returncode == 0
    assert trip["arrived"]
    assert trip["clock_ahead_s"] == 0  # the server has the same clock
    assert "no traces before" in trip["message"]
    assert [trace["trace_id"] for trace in listed["items"]] == [trip["trace_id"]]


class AnyTrace(ScriptedApi):
    """Server that accepts every trace and has every trace."""

    def answer(self, asked: Asked) -> Told:
        """Return the answer to a request; `GET /traces` has the answer of a request without a project."""
        if asked.path == "/traces":
            return Told(status=202, body={}) if asked.method == "POST" else Told(status=422, body=SCOPE)
        return Told(body={})


@pytest.mark.parametrize(("ahead_s", "found_s"), [(0, 0), (-4, 0), (600, -600), (-600, 595)])
def test_the_difference_of_the_clocks_is_what_the_headers_prove(tmp_path: Path, ahead_s: float, found_s: float) -> None:
    """A Date header has whole seconds and may be seconds old, which is no difference of the clocks."""
    with AnyTrace() as server:
        server.clock_ahead_s = ahead_s
        variables = {"PANDAPROBE_API_KEY": KEY, "PANDAPROBE_ENDPOINT": server.url}
        _, report = doctor("--send", home=tmp_path, **variables)

    found = report["round_trip"]["clock_ahead_s"]
    assert found == 0 if found_s == 0 else abs(found - found_s) <= 2


def test_send_is_not_tried_with_a_key_that_is_refused(tmp_path: Path) -> None:
    """With a refused key, `--send` sends no trace."""
    with LocalServer(auth=True) as server:
        variables = {**server.environment("shop"), "PANDAPROBE_API_KEY": KEY}
        code, report = doctor("--send", home=tmp_path, **variables)

    assert (code, report["round_trip"]) == (2, None)


def test_traces_that_go_to_a_file_need_no_key(tmp_path: Path) -> None:
    """With PANDAPROBE_LOCAL, no key is needed, no server is called, and the message names the file."""
    file = tmp_path / "traces.jsonl"
    code, report = doctor(home=tmp_path, PANDAPROBE_LOCAL=str(file))
    assert (code, report["problems"], report["key"]["state"]) == (0, [], "not asked")
    assert str(file) in report["key"]["message"]
