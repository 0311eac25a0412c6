"""A failed trace becomes a test that fails in the same way, offline, and passes once the program is fixed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from command_line import clean_environment, run_command_line
from failing_programs import PROGRAMS, Program
from pandaprobe_otel.demo.scripted_endpoint import ScriptedEndpoint
from pandaprobe_otel.local import LocalServer
from rings import IN_FULL

OFFLINE = {"OPENAI_API_KEY": "none", "OPENAI_BASE_URL": "http://127.0.0.1:9/v1"}


@pytest.fixture(scope="module")
def pandaprobe() -> Iterator[LocalServer]:
    """Yield the local PandaProbe server that stores the traces."""
    with LocalServer(limit=None) as running:
        yield running


def _run(program: Program, folder: Path, server: LocalServer, project: str) -> str:
    """Run a program against its model, and return the id of its trace."""
    (folder / "shop.py").write_text(program.text, encoding="utf-8")
    with ScriptedEndpoint(program.script) as endpoint:
        variables = {**server.environment(project), "OPENAI_API_KEY": "none", "OPENAI_BASE_URL": endpoint.base_url}
        done = subprocess.run(
            [sys.executable, "shop.py"],
            cwd=folder,
            env=clean_environment(folder, **variables),
            capture_output=True,
            text=True,
            timeout=120,
        )
    assert done.returncode == 0, done.stderr
    headers = {"X-API-Key": server.api_key, "X-Project-Name": project}
    found = httpx.get(f"{server.url}/traces", headers=headers, trust_env=False, timeout=60).json()["items"]
    return str(found[0]["trace_id"])


def _tested(text: str, folder: Path) -> str:
    """Return pytest's output for a captured test of this program, without network access."""
    (folder / "shop.py").write_text(text, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "tests"],
        cwd=folder,
        env=clean_environment(folder, PYTHONDONTWRITEBYTECODE="1", **OFFLINE),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return done.stdout


SEEN = {
    "loop": "loop",
    "truncated": "truncated",
    "exception_in_a_tool": "exception",
    "broken_json": "broken JSON",
    "timeout": "timeout",
    "refusal": "refused",
}
"""Failures that are visible in a trace alone; in the others the program did not follow the model's answer."""
SAMPLED = ("wrong_tool", "timeout", "unheard")
"""The failures tested in CI; the others run at night, because each starts five processes."""


@pytest.mark.parametrize("name", [name if name in SAMPLED else pytest.param(name, marks=IN_FULL) for name in PROGRAMS])
def test_a_failure_becomes_a_test(name: str, tmp_path: Path, pandaprobe: LocalServer) -> None:
    """The test fails for the failure and for another bug, passes for the fixed program, and never runs a tool."""
    program = PROGRAMS[name]
    trace_id = _run(program, tmp_path, pandaprobe, name)
    environment = clean_environment(tmp_path, **pandaprobe.environment(name))
    if name in SEEN:
        groups = run_command_line("failures", "--format", "json", environment=environment, cwd=tmp_path)
        assert SEEN[name] in [one["kind"] for one in json.loads(groups.stdout)["items"]]
    done = run_command_line(
        "replay", "capture", trace_id, "--to", f"tests/test_{name}.py", environment=environment, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert "to fix: " in done.stdout
    (tmp_path / "effects.txt").unlink(missing_ok=True)

    buggy = _tested(program.text, tmp_path)
    assert "1 failed" in buggy, buggy
    assert program.fails in buggy, buggy
    assert not (tmp_path / "effects.txt").exists()
    mended = _tested(program.mended_text, tmp_path)
    assert "1 passed" in mended, mended
    assert not (tmp_path / "effects.txt").exists()
    broken = _tested(program.broken_text, tmp_path)
    assert "1 failed" in broken, broken
    assert program.breaks in broken, broken
