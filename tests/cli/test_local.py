"""`pandaprobe-otel local`, as a user runs it."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from command_line import COMMAND, clean_environment, run_here
from pandaprobe_otel.local import LocalServer

TRACE = {"name": "t", "started_at": "2026-01-01T00:00:00+00:00", "session_id": "s"}


@contextmanager
def local(*arguments: str, environment: Mapping[str, str]) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Run `pandaprobe-otel local` on a free port. Yield its URL and its process, which is interrupted at the end."""
    with subprocess.Popen(
        [COMMAND, "local", "--port", "0", *arguments],
        env=dict(environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    ) as process:
        try:
            assert process.stdout is not None
            printed = ""
            while "Ctrl-C" not in printed:
                line = process.stdout.readline()
                assert line, "the server ended"
                printed += line
            found = re.search(r"http://\S+", printed)
            assert found, printed
            for setting in (f"ENDPOINT={found[0]}", f"API_KEY={'any' if '--auth' in arguments else 'sk_pp_local'}"):
                assert f"export PANDAPROBE_{setting}" in printed
            yield found[0], process
        finally:
            process.send_signal(signal.SIGINT)


def post_many(url: str, count: int, key: str = "any") -> list[int]:
    """Send a trace several times and return the statuses of the answers."""
    headers = {"X-API-Key": key, "X-Project-Name": "p"}
    with httpx.Client(base_url=url, headers=headers, trust_env=False, verify=False, timeout=60) as client:
        return [client.post("/traces", json=TRACE).status_code for _ in range(count)]


def count(url: str) -> int:
    """Return the number of traces on the server."""
    headers = {"X-API-Key": "any", "X-Project-Name": "p"}
    total: int = httpx.get(f"{url}/traces", headers=headers, trust_env=False, timeout=60).json()["total"]
    return total


@pytest.mark.parametrize(
    ("number", "options", "statuses", "judged"),
    [
        (signal.SIGINT, ("--limit", "2", "--scripted-judge"), [202, 202, 429], True),
        (signal.SIGTERM, ("--limit", "0", "--auth", "--api-key", "any"), [202] * 120, False),
    ],
)
def test_it_serves_until_it_is_interrupted(
    tmp_path: Path, number: signal.Signals, options: tuple[str, ...], statuses: list[int], judged: bool
) -> None:
    """The options choose limit, judge and keys; an interrupt ends the server with code 0; its file keeps the traces.

    A second process on the same file ends with code 1 and a reason.
    """
    database = ("--db", str(tmp_path / "traces.sqlite"))
    environment = clean_environment(tmp_path)
    with local(*database, *options, environment=environment) as (url, process):
        assert post_many(url, len(statuses)) == statuses
        assert post_many(url, 1, "other") == [401 if "--auth" in options else 202]
        headers = {"X-API-Key": "any", "X-Project-Name": "p"}
        providers = httpx.get(f"{url}/evaluations/providers", headers=headers, trust_env=False, timeout=60).json()
        second = run_here("local", "--port", "0", *database, environment=environment)
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
    with LocalServer(tmp_path / "traces.sqlite") as server:
        assert count(server.url) == statuses.count(202) + ("--auth" not in options)

    assert (process.returncode, errors) == (0, "")
    assert any(provider["available"] for provider in providers) is judged
    assert (second.returncode, second.stdout, "traces.sqlite" in second.stderr) == (1, "", True)


def test_a_file_that_is_no_database_stays_unchanged(tmp_path: Path) -> None:
    """A file that is not a database ends with code 1 and a message that names it."""
    file = tmp_path / "notes.txt"
    file.write_text("not a database, but text of some length " * 50)
    before = file.read_bytes()
    done = run_here("local", "--port", "0", "--db", str(file), environment=clean_environment(tmp_path))

    assert (done.returncode, done.stdout, str(file) in done.stderr) == (1, "", True)
    assert file.read_bytes() == before


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    """A used port ends with code 1 and a message that names it."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = run_here("local", "--port", port, environment=clean_environment(tmp_path))

    assert (done.returncode, done.stdout) == (1, "")
    assert f"cannot listen on 127.0.0.1 port {port}" in done.stderr


@pytest.mark.parametrize("arguments", [("--port", "70000"), ("--fail", "2"), ("--slow", "-1"), ("--host", "0.0.0.0")])
def test_bad_options_end_with_4(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """Invalid option values end with code 4 before the server starts."""
    done = run_here("local", *arguments, environment=clean_environment(tmp_path))

    assert (done.returncode, done.stdout) == (4, "")
