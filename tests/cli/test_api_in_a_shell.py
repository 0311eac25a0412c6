"""The commands that call the API in a shell: pipes, exit codes, a terminal, Ctrl-C, completion."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest

from command_line import COMMAND, clean_environment, run_here
from pandaprobe_otel.api import Client
from pandaprobe_otel.local import LocalServer
from scripted_api import RESET, ScriptedApi, Told
from terminal import Terminal

KEY = "sk_pp_0123456789abcdef0123456789abcdef"
CTRL_C = "\x03"

needs_jq = pytest.mark.skipif(shutil.which("jq") is None, reason="jq is not installed")


@pytest.fixture(scope="module")
def server() -> Iterator[LocalServer]:
    """A local PandaProbe that checks keys."""
    with LocalServer(limit=None, auth=True) as running:
        yield running


@pytest.fixture
def environment(server: LocalServer, tmp_path: Path) -> dict[str, str]:
    """Environment variables for a new project."""
    return clean_environment(
        tmp_path,
        PANDAPROBE_ENDPOINT=server.url,
        PANDAPROBE_API_KEY=server.api_key,
        PANDAPROBE_PROJECT_NAME=f"p-{uuid4()}",
    )


def client_of(environment: Mapping[str, str]) -> Client:
    """A client for the project of the variables."""
    return Client(
        environment["PANDAPROBE_API_KEY"], environment["PANDAPROBE_PROJECT_NAME"], environment["PANDAPROBE_ENDPOINT"]
    )


def make_traces(environment: Mapping[str, str], *names: str) -> None:
    """Create traces with these names, and wait until the server lists them."""
    with client_of(environment) as client:
        for name in names:
            accepted = client.traces.create(name=name, started_at=datetime.now(UTC), input="i", output="o")
            client.traces.wait_visible(accepted.trace_id)


def with_path(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables with the command's directory on PATH."""
    return {**environment, "PATH": f"{Path(COMMAND).parent}{os.pathsep}{environment['PATH']}"}


def shell(line: str, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a line in a POSIX shell with the command on PATH."""
    return subprocess.run(
        ["sh", "-c", line],
        env=with_path(environment),
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )


@needs_jq
def test_json_goes_through_jq(environment: dict[str, str]) -> None:
    """Standard output is valid JSON, without any other text, for one answer or a stream of them."""
    make_traces(environment, "tea", "coffee")
    tail = shell("pandaprobe-otel traces tail --format json | jq -r .status", environment)
    export = shell("pandaprobe-otel traces export | jq -r 'map(.output) | join(\",\")'", environment)

    assert (tail.stdout, tail.stderr) == ("COMPLETED\nCOMPLETED\n", "")
    assert (export.stdout, export.stderr) == ("o,o\n", "")


@needs_jq
@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_a_session_in_a_terminal(environment: dict[str, str]) -> None:
    """In an interactive shell, completion, tables, pipes, a wrong key, a missing server and Ctrl-C work."""
    make_traces(environment, "tea", "coffee")
    with Terminal("bash", "--norc", "--noprofile", "-i", environment=with_path(environment)) as terminal:
        terminal.type('PS1="ready> "; eval "$(pandaprobe-otel completion bash)"\n')
        terminal.wait_for("\nready> ")
        terminal.type("pandaprobe-otel tra\t")
        terminal.wait_for("tra.*ces ")
        terminal.type("li\t")
        terminal.wait_for("st ")
        terminal.type("--sort-by na\t")
        terminal.wait_for("na.*me ")
        terminal.type("\n")
        terminal.wait_for(r"(?s)name +status +.*trace_id.*tea +COMPLETED.*coffee +COMPLETED.*ready> ")
        terminal.type("pandaprobe-otel traces list --format json | jq -r '.items[].name'; echo code $?\n")
        terminal.wait_for(r"\ncoffee\ntea\ncode 0")
        terminal.type(f"pandaprobe-otel traces list --api-key {KEY}; echo code $?\n")
        refused = terminal.wait_for(r"(?s)\npandaprobe-otel: [^\n]*Invalid or revoked API key[^\n]*\ncode 2")
        terminal.type("pandaprobe-otel traces list --timeout 1 --endpoint http://127.0.0.1:9; echo code $?\n")
        terminal.wait_for(r"\npandaprobe-otel: [^\n]*no answer from http://127.0.0.1:9 [^\n]*\ncode 5")
        terminal.type("pandaprobe-otel traces tail -f\n")
        terminal.wait_for("coffee")
        terminal.type(CTRL_C)
        terminal.wait_for("ready> ")
        terminal.type("exit $?\n")
        code = terminal.end()

    assert code == 130
    assert KEY not in refused[0]
    assert environment["PANDAPROBE_API_KEY"] not in terminal.text
    assert "Traceback" not in terminal.text


def test_a_trace_from_standard_input(environment: dict[str, str]) -> None:
    """`-` reads a trace from standard input."""
    made = shell(
        """echo '{"name":"n","started_at":"2026-01-02T03:04:05Z"}' | pandaprobe-otel traces create - --format json""",
        environment,
    )

    assert json.loads(made.stdout).keys() == {"trace_id", "task_id"}


def test_a_reader_that_has_enough(environment: dict[str, str]) -> None:
    """A command whose reader closes the pipe ends with code 0 and no message."""
    make_traces(environment, *("a trace with quite a long name, so that the pipe fills" for _ in range(5)))
    done = shell("(pandaprobe-otel traces export; echo $? >&2) | head -c 1", environment)

    assert (done.stdout, done.stderr) == ("[", "0\n")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("traces", "list", "--api-key", KEY), 2, "Invalid or revoked API key"),
        (("traces", "get", "00000000-0000-0000-0000-000000000001"), 3, "not found"),
        (("sessions", "get", "nope"), 3, "Session 'nope' not found"),
        (("traces", "get", "nope"), 4, "must be a UUID"),
        (("traces", "list", "--project", "a/b"), 4, "is not a project name"),
        (
            ("traces", "list", "--timeout", "1", "--endpoint", "http://127.0.0.1:9"),
            5,
            "no answer from http://127.0.0.1:9",
        ),
        (("traces", "list", "--endpoint", "shop"), 4, "is not an http(s) URL"),
    ],
)
def test_an_error_of_the_api_is_one_line(
    environment: dict[str, str], arguments: tuple[str, ...], code: int, words: str
) -> None:
    """Each error has its exit code and one line on standard error, which does not contain the key."""
    done = run_here(*arguments, "--format", "json", environment=environment)

    assert (done.returncode, done.stdout) == (code, "")
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
    assert KEY not in done.stderr
    assert environment["PANDAPROBE_API_KEY"] not in done.stderr


def test_without_a_key(tmp_path: Path) -> None:
    """Without a key, the message names the variable to set."""
    done = run_here("traces", "list", environment=clean_environment(tmp_path))

    assert (done.returncode, done.stdout) == (2, "")
    assert "set PANDAPROBE_API_KEY" in done.stderr


@pytest.mark.parametrize(
    ("answer", "code", "words"),
    [
        (Told(status=429, body={"detail": "You've reached the traces limit"}), 5, "Upgrade the plan"),
        (Told(status=401, body={"detail": "API key has expired. Please generate a new one."}), 2, "Make a new key"),
        (Told(status=403, body={"detail": "no"}), 2, "403 no"),
        (RESET, 5, "no answer"),
        (Told(body="<html>"), 5, "Is the endpoint the base URL of a PandaProbe?"),
    ],
)
def test_refusals(tmp_path: Path, answer: Told, code: int, words: str) -> None:
    """Each kind of refusal has its exit code and a message with the remedy."""
    with ScriptedApi() as api:
        api.tell("GET /traces", answer)
        environment = clean_environment(tmp_path, PANDAPROBE_ENDPOINT=api.url, PANDAPROBE_API_KEY=KEY)
        done = run_here("traces", "list", environment=environment)

    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (code, "", 1)
    assert words in done.stderr


def test_a_run_whose_answer_is_lost(tmp_path: Path) -> None:
    """A request without an answer is not repeated, and the message says that its outcome is unknown."""
    with ScriptedApi() as api:
        api.tell("GET /evaluations/trace-metrics", [{"name": "coherence", "description": "", "category": "trace"}])
        api.tell("GET /evaluations/session-metrics", [])
        api.tell("GET /traces", {"items": [], "total": 4, "limit": 1, "offset": 0})
        api.tell("POST /evaluations/trace-runs", RESET)
        environment = clean_environment(tmp_path, PANDAPROBE_ENDPOINT=api.url, PANDAPROBE_API_KEY=KEY)
        done = run_here("evals", "run", "-m", "coherence", "--all", environment=environment)
        posts = api.requests("POST /evaluations/trace-runs")

    assert (done.returncode, len(posts)) == (5, 1)
    assert "may or may not have been carried out" in done.stderr


def test_following_traces_in_a_terminal(environment: dict[str, str]) -> None:
    """`tail -f` prints existing and new traces, until Ctrl-C ends it with code 130 and no traceback."""
    make_traces(environment, "first")
    with Terminal(COMMAND, "traces", "tail", "-f", environment=environment) as terminal:
        terminal.wait_for("first")
        make_traces(environment, "second", "third")
        terminal.wait_for("third")
        terminal.type(CTRL_C)
        code = terminal.end()

    assert code == 130
    assert [terminal.text.count(name) for name in ("first", "second", "third")] == [1, 1, 1]
    assert terminal.text.index("second") < terminal.text.index("third")
    assert "Traceback" not in terminal.text


def test_waiting_for_a_run_shows_how_far_it_is(tmp_path: Path) -> None:
    """On a terminal, `--wait` shows a progress bar, which is not written to a pipe."""
    run = {
        "id": str(uuid4()),
        "status": "RUNNING",
        "metric_names": ["coherence"],
        "total_targets": 4,
        "evaluated_count": 3,
        "failed_count": 0,
        "created_at": "2026-01-02T03:04:05+00:00",
        "project_id": str(uuid4()),
        "target_type": "TRACE",
    }
    with ScriptedApi() as api:
        api.tell("GET /evaluations/trace-metrics", [{"name": "coherence", "description": "", "category": "trace"}])
        api.tell("GET /evaluations/session-metrics", [])
        api.tell("GET /traces", {"items": [], "total": 4, "limit": 1, "offset": 0})
        api.tell("POST /evaluations/trace-runs", Told(status=202, body=run))
        done = {**run, "status": "COMPLETED", "evaluated_count": 4}
        api.tell(f"GET /evaluations/trace-runs/{run['id']}", run, run, run, done)
        api.tell(f"GET /evaluations/trace-runs/{run['id']}/scores", [])
        environment = clean_environment(tmp_path, PANDAPROBE_ENDPOINT=api.url, PANDAPROBE_API_KEY=KEY)
        arguments = ("evals", "run", "-m", "coherence", "--all", "--wait")
        with Terminal(COMMAND, *arguments, environment=environment) as terminal:
            terminal.wait_for("running.*3/4")
            code = terminal.end()
        piped = run_here(*arguments, environment=environment)

    assert code == piped.returncode == 6, "a run without a score is no evidence"
    assert "3/4" not in piped.stderr


def test_ctrl_c_while_waiting_leaves_the_run_alone(tmp_path: Path) -> None:
    """Ctrl-C while waiting ends with code 130, and cancels or deletes nothing on the server."""
    run = {
        "id": str(uuid4()),
        "status": "RUNNING",
        "metric_names": ["coherence"],
        "total_targets": 1,
        "evaluated_count": 0,
        "failed_count": 0,
        "created_at": "2026-01-02T03:04:05+00:00",
        "project_id": str(uuid4()),
        "target_type": "TRACE",
    }
    with ScriptedApi() as api:
        api.tell(f"GET /evaluations/trace-runs/{run['id']}", run)
        environment = clean_environment(tmp_path, PANDAPROBE_ENDPOINT=api.url, PANDAPROBE_API_KEY=KEY)
        with Terminal(COMMAND, "evals", "runs", "wait", str(run["id"]), environment=environment) as terminal:
            terminal.wait_for("0/1")
            terminal.type(CTRL_C)
            code = terminal.end()

    assert code == 130
    assert "Traceback" not in terminal.text
    assert {asked.method for asked in api.asked} == {"GET"}


@pytest.mark.parametrize("name", ["bash", "zsh", "fish"])
def test_the_completion_script_of_a_shell(tmp_path: Path, name: str) -> None:
    """The completion script contains the command and click's variable."""
    done = run_here("completion", name, environment=clean_environment(tmp_path))

    assert done.returncode == 0
    assert "_PANDAPROBE_OTEL_COMPLETE" in done.stdout
    assert "pandaprobe-otel" in done.stdout


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("pandaprobe-otel tra", {"traces"}),
        ("pandaprobe-otel traces exp", {"export"}),
        ("pandaprobe-otel traces list --sort-by st", {"started_at", "status"}),
        ("pandaprobe-otel evals runs wait --thr", {"--threshold"}),
    ],
)
def test_a_shell_completes(tmp_path: Path, words: str, offered: set[str]) -> None:
    """Completion offers groups, commands, options and values, even of commands that are loaded lazily."""
    environment = clean_environment(
        tmp_path,
        _PANDAPROBE_OTEL_COMPLETE="bash_complete",
        COMP_WORDS=words,
        COMP_CWORD=str(len(words.split()) - 1),
    )
    done = run_here(environment=environment)

    assert {line.partition(",")[2] for line in done.stdout.splitlines()} == offered


def test_commands_that_ask_nothing_do_not_load_the_client(tmp_path: Path) -> None:
    """Importing the command line does not load pydantic, which would slow down `run` and `doctor`."""
    code = "import sys; from pandaprobe_otel.cli import app; print('pydantic' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=clean_environment(tmp_path),
        capture_output=True,
        encoding="utf-8",
        check=False,
    )

    assert (done.stdout, done.stderr) == ("False\n", "")
