"""The commands of the skill, run in order in a new folder on a local PandaProbe."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest

from command_line import clean_environment, run_here
from failing_programs import PROGRAMS
from pandaprobe_otel.api import Client
from pandaprobe_otel.demo.scripted_endpoint import ScriptedEndpoint
from pandaprobe_otel.local import LocalServer
from pandaprobe_otel.skill.installing import skill_text
from planted_traces import trace_of
from sent_traces import send_traces

PROGRAM = PROGRAMS["bad_arguments"]
EXPECTED = {
    'pip install "pandaprobe-otel[cli,local,mcp]"': None,  # is installed already
    "pandaprobe-otel doctor": (0, "API key good"),
    "pandaprobe-otel traces list --since 1h": (0, "answer"),
    "pandaprobe-otel failures --since 7d": (0, "PlantedError"),
    "pandaprobe-otel traces list --status error --since 24h --format json": (0, '"items"'),
    "pandaprobe-otel traces get TRACE --budget 2000": (0, "SUSPECT"),
    'pandaprobe-otel traces get TRACE --budget 2000 --part "#2.input"': (0, "Where is my order A-17?"),
    "pandaprobe-otel traces compare GOOD BAD": (0, "first difference: TOOL look_up_order"),
    "pandaprobe-otel sessions get SESSION": (0, "s-skill"),
    "pandaprobe-otel evals run --trace TRACE --metric task_completion=0.7 --max-evals 5": (None, "task_completion"),
    "pandaprobe-otel replay capture TRACE --to tests/test_refund.py": (0, "to fix: "),
    "python -m pytest tests/test_refund.py": (1, PROGRAM.fails),
    "pandaprobe-otel replay rerun TRACE --entry shop:answer --from 2 --prompt prompt.md": (0, "fork of answer from 2"),
}
"""Each command's exit code (None: 0 or 1) and a part of its output; a command with None alone is not run."""


def _commands() -> Iterator[str]:
    """Yield the lines of the skill's indented blocks."""
    for line in skill_text().splitlines():
        if line.startswith("    ") and line.strip():
            yield line.strip()


def test_every_command_has_an_expectation() -> None:
    """The skill's indented commands are exactly those with an expectation, in the same order."""
    assert list(_commands()) == list(EXPECTED)


def test_every_command_exists() -> None:
    """Each command that the skill names, even within a sentence, exists."""
    named = set(re.findall(r"`?pandaprobe-otel (\w+)", skill_text().split("---\n", 2)[2]))
    assert {name: run_here(name, "--help", environment={}).returncode for name in named} == dict.fromkeys(named, 0)
    assert {"mcp", "local", "doctor"} <= named


def _run(folder: Path, text: str, pandaprobe: LocalServer, project: str) -> str:
    """Run the program and return the id of its trace."""
    (folder / "shop.py").write_text(text, encoding="utf-8")
    with ScriptedEndpoint(PROGRAM.script) as endpoint, Client("any", project, pandaprobe.url) as client:
        before = {row.trace_id for row in client.traces.list().items}
        variables = {**pandaprobe.environment(project), "OPENAI_API_KEY": "none", "OPENAI_BASE_URL": endpoint.base_url}
        environment = clean_environment(folder, **variables)
        subprocess.run([sys.executable, "shop.py"], cwd=folder, env=environment, check=True, timeout=120)
        (made,) = {row.trace_id for row in client.traces.list().items} - before
    return str(made)


@pytest.mark.outer
@pytest.mark.exhaustive
def test_the_commands_of_the_skill_work(tmp_path: Path) -> None:
    """Each command exits with the expected code and prints the expected text, with the ids of real traces."""
    project = f"skill-{uuid4()}"
    with LocalServer(limit=None, scripted_judge=True) as pandaprobe, ScriptedEndpoint(PROGRAM.script) as endpoint:
        good = _run(tmp_path, PROGRAM.mended_text, pandaprobe, project)
        bad = _run(tmp_path, PROGRAM.text, pandaprobe, project)
        with Client("any", project, pandaprobe.url) as client:
            failed = trace_of(2, failing={1}, seed=4000, begin=datetime.now(UTC))
            send_traces(client, [{**failed, "session_id": "s-skill"}])
        (tmp_path / "prompt.md").write_text("You help, with whole numbers of orders.", encoding="utf-8")
        ids = {"TRACE": bad, "GOOD": good, "BAD": bad, "SESSION": "s-skill"}
        variables = {**pandaprobe.environment(project), "OPENAI_API_KEY": "none", "OPENAI_BASE_URL": endpoint.base_url}
        environment = clean_environment(tmp_path, PYTHONDONTWRITEBYTECODE="1", **variables)
        for command, expected in EXPECTED.items():
            if expected is None:
                continue
            words = [ids.get(word, word) for word in shlex.split(command)]
            program = {"python": [sys.executable], "pandaprobe-otel": [sys.executable, "-m", "pandaprobe_otel.cli"]}
            done = subprocess.run(
                [*program[words[0]], *words[1:]],
                cwd=tmp_path,
                env=environment,
                capture_output=True,
                text=True,
                timeout=120,
            )
            code, part = expected
            assert done.returncode in ((0, 1) if code is None else (code,)), f"{command}\n{done.stdout}{done.stderr}"
            assert part in " ".join((done.stdout + done.stderr).split()), f"{command}\n{done.stdout}{done.stderr}"
