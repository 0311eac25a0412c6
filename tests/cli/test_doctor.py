"""`pandaprobe-otel doctor`, as a user runs it."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx
import pytest

from command_line import clean_environment, run_here
from local_http import traces_of
from pandaprobe_otel.config.settings import SETTINGS
from pandaprobe_otel.local import LocalServer
from provider_server import json_reply
from scripted_api import ScriptedApi

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


def test_libraries_have_versions_and_states(tmp_path: Path) -> None:
    """Each library has its own version, also where distributions share a module such as `google`, and its state."""
    _, report = doctor("--offline", home=tmp_path, PANDAPROBE_API_KEY=KEY, PANDAPROBE_EXCLUDE="anthropic")
    listed = {library["name"]: library for library in report["libraries"]}

    for name, distribution in {"google_genai": "google-genai", "openai": "openai", "mcp": "mcp"}.items():
        assert listed[name]["installed"] == version(distribution)
    assert (listed["openai"]["instrumentor"], listed["openai"]["state"]) == ("pandaprobe_openai", "hooked")
    assert (listed["anthropic"]["state"], listed["anthropic"]["reason"]) == ("skipped", "excluded")


def test_it_never_shows_a_secret(tmp_path: Path) -> None:
    """Neither the key nor a password in a URL is printed, in either format; the table has the problem and remedy."""
    environment = clean_environment(
        tmp_path, PANDAPROBE_API_KEY=KEY, PANDAPROBE_REDIS_URL="redis://user:hunter2@cache:6379/0"
    )
    for output in ("json", "table"):
        done = run_here("doctor", "--offline", "--format", output, environment=environment)
        assert KEY not in done.stdout
        assert "hunter2" not in done.stdout
        assert "sk_pp_…cdef" in done.stdout
        assert "redis://***@cache:6379/0" in done.stdout
    short = run_here("doctor", "--offline", environment=clean_environment(tmp_path, PANDAPROBE_API_KEY="hunter2"))
    assert "hunter2" not in short.stdout
    without = run_here("doctor", "--offline", environment=clean_environment(tmp_path, PANDAPROBE_PROJECT_NAME="shop"))
    assert without.returncode == 2
    for words in ("PANDAPROBE_PROJECT_NAME", "shop", "Problem (api_key)", "pandaprobe-otel local", "openai"):
        assert words in without.stdout


def test_the_check_of_a_key_creates_no_project(tmp_path: Path) -> None:
    """Checking no key, a good or a bad key creates no project; `--send` sends nothing with a bad key."""
    with LocalServer(auth=True) as server, LocalServer() as unlocked:
        before = _projects(server), _projects(unlocked)
        good, report = doctor(home=tmp_path, PANDAPROBE_API_KEY=server.api_key, PANDAPROBE_ENDPOINT=server.url)
        bad, refused = doctor("--send", home=tmp_path, PANDAPROBE_API_KEY=KEY, PANDAPROBE_ENDPOINT=server.url)
        none, needless = doctor(home=tmp_path, PANDAPROBE_ENDPOINT=unlocked.url)
        after = _projects(server), _projects(unlocked)

    assert (good, report["key"]["state"]) == (0, "good")
    assert (bad, refused["round_trip"], "Invalid or revoked API key" in refused["key"]["message"]) == (2, None, True)
    assert (none, needless["key"]["message"]) == (0, "the endpoint needs no key")
    assert after == before


def _projects(server: LocalServer) -> list[str]:
    with httpx.Client(
        base_url=server.url, headers={"Authorization": f"Bearer {server.token}"}, trust_env=False, timeout=60
    ) as client:
        (organization,) = client.get("/organizations").json()
        return [project["name"] for project in client.get(f"/organizations/{organization['id']}/projects").json()]


@pytest.mark.parametrize(
    ("status", "body", "exit_code", "state", "words"),
    [
        (401, '{"detail":"API key has expired. Please generate a new one."}', 2, "refused", "expired"),
        (429, '{"error":"Rate limit exceeded: 200 per 1 minute"}', 5, "unclear", "in a minute"),
        (404, '{"detail":"Not Found"}', 5, "unclear", "base URL"),
        (500, "Internal Server Error", 5, "unreachable", "500"),
        (401, {"detail": "Missing credentials. Provide X-API-Key header."}, 2, "refused", "set PANDAPROBE_API_KEY"),
        (422, SCOPE, 2, "refused", "set PANDAPROBE_API_KEY"),
    ],
)
def test_other_answers_have_their_exit_code(
    tmp_path: Path, status: int, body: Any, exit_code: int, state: str, words: str
) -> None:
    """A refused key ends with code 2, any other answer with 5, and the message has the server's text.

    Without a key, a server that requires one is not taken for an open one, and the message names the variable.
    """
    given = {} if isinstance(body, dict) else {"PANDAPROBE_API_KEY": KEY}
    with ScriptedApi() as server:
        server.serve("GET /traces", json_reply(body, status=status))
        code, report = doctor(home=tmp_path, PANDAPROBE_ENDPOINT=server.url, **given)

    assert (code, report["key"]["state"]) == (exit_code, state)
    assert words in report["key"]["message"]


@pytest.mark.parametrize(
    ("variables", "exit_code", "setting", "words"),
    [
        ({"PANDAPROBE_API_KEY": ""}, 2, "api_key", "PANDAPROBE_API_KEY"),
        ({"PANDAPROBE_API_KEY": "your-api-key"}, 2, "api_key", "PANDAPROBE_API_KEY"),
        ({"PANDAPROBE_API_KEY": KEY, "PANDAPROBE_SAMPLE_RATE": "ten"}, 4, "sample_rate", "PANDAPROBE_SAMPLE_RATE"),
    ],
)
def test_a_bad_setting_is_named_and_nothing_is_sent(
    tmp_path: Path, variables: dict[str, str], exit_code: int, setting: str, words: str
) -> None:
    """A missing or placeholder key ends with code 2, an unreadable setting with 4; the message names the variable."""
    offline = ["--offline"] if setting != "api_key" else []
    code, report = doctor(*offline, home=tmp_path, **variables)

    assert (code, report["key"]["state"]) == (exit_code, "not asked")
    (problem,) = report["problems"]
    assert (problem["setting"], words in problem["message"]) == (setting, True)


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


def test_send_shows_whether_a_trace_arrives(tmp_path: Path) -> None:
    """`--send` sends a trace as an app would, and reads it back."""
    with LocalServer() as server:
        environment = clean_environment(tmp_path, **server.environment("shop"))
        done = run_here("doctor", "--send", "--format", "json", environment=environment)
        listed = traces_of(server)

    trip = json.loads(done.stdout)["round_trip"]
    assert done.returncode == 0
    assert trip["arrived"]
    assert "no traces before" in trip["message"]
    assert [trace["trace_id"] for trace in listed] == [trip["trace_id"]]


def test_traces_that_go_to_a_file_need_no_key(tmp_path: Path) -> None:
    """With PANDAPROBE_LOCAL, no key is needed, no server is called, and the message names the file."""
    file = tmp_path / "traces.jsonl"
    code, report = doctor(home=tmp_path, PANDAPROBE_LOCAL=str(file))
    assert (code, report["problems"], report["key"]["state"]) == (0, [], "not asked")
    assert str(file) in report["key"]["message"]
