"""The examples of docs/client.md run, and its commands are understood."""

from __future__ import annotations

import re
import shlex
from datetime import UTC, datetime
from pathlib import Path

import pytest

from command_line import clean_environment, run_here
from pandaprobe_otel.api import Client
from pandaprobe_otel.local import LocalServer

TEXT = (Path(__file__).parents[2] / "docs" / "client.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """The code blocks of a language."""
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


def test_the_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Against a local server that has the session they ask for."""
    (tmp_path / "monitors.toml").write_text(blocks("toml")[0], encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    with LocalServer(limit=None) as server:
        for name, value in server.environment("docs").items():
            monkeypatch.setenv(name, value)
        with Client() as client:
            started_at = datetime.now(UTC)
            accepted = client.traces.create(
                name="agent", started_at=started_at, session_id="customer-4711", input="a b", output="a b"
            )
            client.traces.wait_visible(accepted.trace_id)
            for block in blocks("python"):
                exec(compile(block, "docs/client.md", "exec"), {})
            (monitor,) = client.monitors.list().items

    assert "agent None" in capsys.readouterr().out
    assert monitor.name == "nightly"


@pytest.mark.parametrize("line", [line for line in blocks("sh")[0].splitlines() if line.startswith("pandaprobe-otel")])
def test_the_commands_are_understood(tmp_path: Path, line: str) -> None:
    """Each is a command with these options: all that is missing is a key."""
    arguments = shlex.split(line.partition("|")[0], comments=True)[1:]
    arguments = [str(tmp_path / "monitors.toml") if each == "monitors.toml" else each for each in arguments]
    done = run_here(*arguments, environment=clean_environment(tmp_path))

    assert (done.returncode, "PANDAPROBE_API_KEY" in done.stderr) == (2, True), done.stderr


def test_every_part_of_the_client_is_told() -> None:
    """The table names each of them."""
    with Client("sk_pp_test", "p", "http://127.0.0.1:1") as client:
        parts = [name for name in vars(client) if not name.startswith("_") and name != "credentials"]

    table = TEXT.partition("## Evaluating")[0]
    assert [name for name in parts if not re.search(rf"`(client\.)?{name}`", table)] == []
