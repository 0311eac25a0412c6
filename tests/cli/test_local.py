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

from command_line import COMMAND, clean_environment, run_command_line, run_here

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
            found = re.search(r"http://\S+", process.stdout.readline())
            assert found, "the server printed no URL"
            yield found[0], process
        finally:
            process.send_signal(signal.SIGINT)


def post(url: str, key: str = "any") -> int:
    """Send a trace and return the status of the answer."""
    (status,) = post_many(url, 1, key)
    return status


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


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_until_it_is_interrupted(tmp_path: Path, number: signal.Signals) -> None:
    """The server accepts any key, and Ctrl-C or SIGTERM ends it with code 0 and no traceback."""
    with local(environment=clean_environment(tmp_path)) as (url, process):
        assert post(url) == 202
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)

    assert (process.returncode, errors) == (0, "")


def test_a_database_file_survives_and_is_of_one_process(tmp_path: Path) -> None:
    """A trace in a database file survives its process; a second process on that file ends with code 1 and a reason."""
    arguments = ("--db", str(tmp_path / "traces.sqlite"))
    environment = clean_environment(tmp_path)
    with local(*arguments, environment=environment) as (url, _):
        assert post(url) == 202
        done = run_command_line("local", "--port", "0", *arguments, environment=environment)
    with local(*arguments, environment=environment) as (url, _):
        assert count(url) == 1

    assert (done.returncode, done.stdout) == (1, "")
    assert "traces.sqlite" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    """A file that is not a database ends with code 1 and a message that names it, and stays unchanged."""
    file = tmp_path / "notes.txt"
    file.write_text("not a database, but text of some length " * 50)
    before = file.read_bytes()
    done = run_here("local", "--port", "0", "--db", str(file), environment=clean_environment(tmp_path))

    assert (done.returncode, done.stdout) == (1, "")
    assert str(file) in done.stderr
    assert "Traceback" not in done.stderr
    assert file.read_bytes() == before


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    """A used port ends with code 1 and a message that names it."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = run_command_line("local", "--port", port, environment=clean_environment(tmp_path))

    assert (done.returncode, done.stdout) == (1, "")
    assert f"cannot listen on 127.0.0.1 port {port}" in done.stderr


def test_other_machines_need_keys(tmp_path: Path) -> None:
    """Without --auth, an address that other machines can reach is refused with code 4."""
    done = run_here("local", "--host", "0.0.0.0", environment=clean_environment(tmp_path))

    assert done.returncode == 4
    assert "--auth" in done.stderr


def test_keys_are_checked_with_auth(tmp_path: Path) -> None:
    """With --auth, only the given key is accepted."""
    with local("--auth", "--api-key", "sk_pp_mine", environment=clean_environment(tmp_path)) as (url, _):
        assert post(url, "sk_pp_mine") == 202
        assert post(url, "sk_pp_other") == 401


@pytest.mark.parametrize(
    ("arguments", "statuses", "judged"),
    [(("--limit", "2", "--scripted-judge"), [202, 202, 429], True), (("--limit", "0"), [202] * 120, False)],
)
def test_the_limit_and_the_judge_can_be_chosen(
    tmp_path: Path, arguments: tuple[str, ...], statuses: list[int], judged: bool
) -> None:
    """Requests above `--limit` are refused, 0 removes the limit; `--scripted-judge` makes a provider available."""
    with local(*arguments, environment=clean_environment(tmp_path)) as (url, _):
        assert post_many(url, len(statuses)) == statuses
        headers = {"X-API-Key": "any", "X-Project-Name": "p"}
        providers = httpx.get(f"{url}/evaluations/providers", headers=headers, trust_env=False, timeout=60).json()

    assert any(provider["available"] for provider in providers) is judged


@pytest.mark.parametrize("arguments", [("--port", "70000"), ("--fail", "2"), ("--slow", "-1"), ("--limit", "x")])
def test_bad_options_end_with_4(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """Invalid option values end with code 4 before the server starts."""
    done = run_here("local", *arguments, environment=clean_environment(tmp_path))

    assert (done.returncode, done.stdout) == (4, "")
