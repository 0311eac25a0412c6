"""Wrong settings: the program works, and standard error names the remedy."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from command_line import clean_environment
from pandaprobe_otel.demo.quickstart_run import quickstart_path
from pandaprobe_otel.demo.scripted_endpoint import ScriptedEndpoint
from pandaprobe_otel.demo.shop_script import shop_script
from pandaprobe_otel.local import LocalServer

WRONG_KEY = "sk_pp_" + "0" * 64
LOST = f"{2 + 5 + 3} spans were not delivered"
"""The quickstart has two agents, five model calls and three tool calls."""


@pytest.fixture(scope="module")
def model() -> Iterator[ScriptedEndpoint]:
    """Yield the scripted model of the quickstart."""
    with ScriptedEndpoint(shop_script) as endpoint:
        yield endpoint


@pytest.fixture(scope="module")
def pandaprobe() -> Iterator[LocalServer]:
    """Yield a PandaProbe that checks keys."""
    with LocalServer(auth=True) as server:
        yield server


def quickstart(model: ScriptedEndpoint, home: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the example with these settings only; without a PandaProbe it would start one."""
    environment = clean_environment(home, OPENAI_BASE_URL=model.base_url, OPENAI_API_KEY="any", **variables)
    program = f"import runpy; runpy.run_path({str(quickstart_path())!r})['main']()"
    return subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, encoding="utf-8", check=False
    )


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        pytest.param(
            {}, ["PANDAPROBE_API_KEY", "pandaprobe-otel local", "no traces are sent"], marks=pytest.mark.outer
        ),
        ({"PANDAPROBE_API_KEY": "your-key"}, ["PANDAPROBE_API_KEY", "placeholder"]),
        pytest.param(
            {"PANDAPROBE_API_KEY": WRONG_KEY, "PANDAPROBE_ENDPOINT": "localhost:1"},
            ["PANDAPROBE_ENDPOINT", "URL"],
            marks=pytest.mark.outer,
        ),
    ],
)
def test_settings_that_cannot_work_are_logged_once(
    model: ScriptedEndpoint, tmp_path: Path, variables: dict[str, str], words: list[str]
) -> None:
    """A setting that stops all sending is logged once with its remedy, and the program's answers stay the same."""
    done = quickstart(model, tmp_path, **variables)

    (line,) = done.stderr.splitlines()
    assert (done.returncode, "arrives on Tuesday" in done.stdout) == (0, True)
    assert [word for word in words if word not in line] == []


def test_values_that_cannot_be_read_are_replaced_by_the_default(
    model: ScriptedEndpoint, pandaprobe: LocalServer, tmp_path: Path
) -> None:
    """Each unreadable value is logged once with its variable, and traces are sent with the default."""
    wrong = {
        "PANDAPROBE_SAMPLE_RATE": "ten",
        "PANDAPROBE_SPANS": "some",
        "PANDAPROBE_SHUTDOWN_TIMEOUT": "soon",
    }
    before = _stored(pandaprobe)
    settings = {"PANDAPROBE_API_KEY": pandaprobe.api_key, "PANDAPROBE_ENDPOINT": pandaprobe.url}
    done = quickstart(model, tmp_path, **settings, **wrong)

    lines = done.stderr.splitlines()
    assert (done.returncode, len(lines)) == (0, len(wrong))
    for name, value in wrong.items():
        assert sum(f"{name} = {value!r}" in line for line in lines) == 1
    assert _stored(pandaprobe) == before + 2


def _stored(pandaprobe: LocalServer) -> int:
    headers = {"X-API-Key": pandaprobe.api_key, "X-Project-Name": "default"}
    total: int = httpx.get(f"{pandaprobe.url}/traces", headers=headers, trust_env=False, timeout=60).json()["total"]
    return total


def test_a_refused_key_is_logged_with_the_remedy(
    model: ScriptedEndpoint, pandaprobe: LocalServer, tmp_path: Path
) -> None:
    """The log has the server's words, the variable to check and the number of lost spans, in two lines."""
    done = quickstart(
        model,
        tmp_path,
        PANDAPROBE_API_KEY=WRONG_KEY,
        PANDAPROBE_ENDPOINT=pandaprobe.url,
        PANDAPROBE_SHUTDOWN_TIMEOUT="6",
    )

    assert (done.returncode, "arrives on Tuesday" in done.stdout) == (0, True)
    assert "Invalid or revoked API key" in done.stderr
    assert "PANDAPROBE_API_KEY" in done.stderr
    assert LOST in done.stderr
    assert len(done.stderr.splitlines()) == 2


def test_a_missing_server_is_logged(model: ScriptedEndpoint, tmp_path: Path) -> None:
    """If no server listens, the log has the reason and the number of lost spans, and the program succeeds."""
    done = quickstart(
        model,
        tmp_path,
        PANDAPROBE_API_KEY=WRONG_KEY,
        PANDAPROBE_ENDPOINT="http://127.0.0.1:9",
        PANDAPROBE_SHUTDOWN_TIMEOUT="6",
    )

    assert (done.returncode, "arrives on Tuesday" in done.stdout) == (0, True)
    assert "refused" in done.stderr
    assert LOST in done.stderr
    assert len(done.stderr.splitlines()) == 2


def test_strict_stops_the_program(model: ScriptedEndpoint, tmp_path: Path) -> None:
    """With PANDAPROBE_STRICT `init` raises for a wrong setting, and the program does nothing."""
    done = quickstart(model, tmp_path, PANDAPROBE_API_KEY="your-key", PANDAPROBE_STRICT="true")

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[-1].startswith("pandaprobe_otel.errors.ConfigError: PANDAPROBE_API_KEY")
