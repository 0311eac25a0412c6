"""Wrong settings: the program works, and standard error names the remedy."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

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


@pytest.mark.parametrize("listens", [True, False])
def test_lost_traces_are_logged_with_the_remedy(
    model: ScriptedEndpoint, pandaprobe: LocalServer, tmp_path: Path, listens: bool
) -> None:
    """The log has the reason, the variable to check and the number of lost spans, in two lines."""
    done = quickstart(
        model,
        tmp_path,
        PANDAPROBE_API_KEY=WRONG_KEY,
        PANDAPROBE_ENDPOINT=pandaprobe.url if listens else "http://127.0.0.1:9",
        PANDAPROBE_SHUTDOWN_TIMEOUT="6",
    )

    assert (done.returncode, "arrives on Tuesday" in done.stdout) == (0, True)
    for words in ("Invalid or revoked API key", "PANDAPROBE_API_KEY") if listens else ("refused",):
        assert words in done.stderr
    assert LOST in done.stderr
    assert len(done.stderr.splitlines()) == 2
