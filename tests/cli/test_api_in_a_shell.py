"""The commands that call the API in a shell: pipes, exit codes, a terminal, Ctrl-C, completion."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest

from command_line import COMMAND, clean_environment, run_here
from pandaprobe_otel.api import Client
from pandaprobe_otel.local import LocalServer
from scripted_api import ScriptedApi, served_run
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
        timeout=240,
        check=False,
    )


@needs_jq
def test_json_goes_through_jq(environment: dict[str, str]) -> None:
    """Standard output is JSON alone, for one answer or a stream of them; `-` reads a trace from standard input."""
    make_traces(environment, "tea", "coffee")
    body = json.dumps({"name": "late", "started_at": datetime.now(UTC).isoformat(), "output": "o"})
    made = shell(f"echo '{body}' | pandaprobe-otel traces create - --format json | jq -r .trace_id", environment)
    with client_of(environment) as client:
        client.traces.wait_visible(made.stdout.strip())
    tail = shell("pandaprobe-otel traces tail --format json | jq -r .status", environment)
    export = shell("pandaprobe-otel traces export | jq -r 'map(.output) | join(\",\")'", environment)

    assert (tail.stdout.split(), tail.stderr) == (["COMPLETED"] * 3, "")
    assert (export.stdout, export.stderr) == ("o,o,o\n", "")


@needs_jq
@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_a_session_in_a_terminal(environment: dict[str, str]) -> None:
    """In an interactive shell, completion, tables, pipes, a wrong key, a missing server and Ctrl-C work."""
    make_traces(environment, "tea", "coffee")
    with Terminal("bash", "--norc", "--noprofile", "-i", environment=with_path(environment)) as terminal:
        terminal.type('PS1="ready> "; eval "$(_PANDAPROBE_OTEL_COMPLETE=bash_source pandaprobe-otel)"\n')
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
        make_traces(environment, "milk")
        terminal.wait_for("milk")
        terminal.type(CTRL_C)
        terminal.wait_for("ready> ")
        terminal.type("exit $?\n")
        code = terminal.end()

    assert code == 130
    assert KEY not in refused[0]
    assert environment["PANDAPROBE_API_KEY"] not in terminal.text
    assert "Traceback" not in terminal.text


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


def test_waiting_for_a_run(tmp_path: Path) -> None:
    """On a terminal `wait` shows a progress bar, which a pipe does not get; Ctrl-C ends it, not the run."""
    run = served_run(status="RUNNING", total_targets=4, evaluated_count=3)
    done = {**run, "status": "COMPLETED", "evaluated_count": 4}
    with ScriptedApi() as api:
        api.serve(f"GET /evaluations/trace-runs/{run['id']}", run)
        api.serve(f"GET /evaluations/trace-runs/{run['id']}/scores", [])
        environment = clean_environment(tmp_path, PANDAPROBE_ENDPOINT=api.url, PANDAPROBE_API_KEY=KEY)
        arguments = ("evals", "runs", "wait", str(run["id"]))
        with Terminal(COMMAND, *arguments, environment=environment) as terminal:
            terminal.wait_for("running.*3/4")
            terminal.type(CTRL_C)
            code = terminal.end()
        assert {one.method for one in api.received} == {"GET"}
        api.serve(f"GET /evaluations/trace-runs/{run['id']}", run, done)
        piped = run_here(*arguments, environment=environment)

    assert code == 130
    assert "Traceback" not in terminal.text
    assert piped.returncode == 6, "a run without a score is no evidence"
    assert "3/4" not in piped.stderr
