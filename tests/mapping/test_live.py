"""Live runs of instrumentors: those of installed libraries, and the stored results of the others (`nox -s live`)."""

from __future__ import annotations

import re
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from instrumentors import INSTRUMENTORS
from live_runs import PAGE, run

import captures

_makes_spans = tuple(map(int, version("anthropic").split(".")[:2])) >= (1, 14)


@pytest.mark.skipif(not _makes_spans, reason="the anthropic client makes spans itself from 1.14 on")
@pytest.mark.parametrize("name", ["anthropic_native_content", "anthropic_native_default"])
def test_traces_of_a_live_run_show_every_exchange(name: str, tmp_path: Path) -> None:
    """The spans that the anthropic client makes itself show every exchange; only the model is scripted."""
    outcome = run(INSTRUMENTORS[name], Path(sys.executable), tmp_path)
    assert outcome.faults == ()
    assert outcome.calls == 8


def test_three_quarters_of_the_recorded_instrumentors_were_run_live() -> None:
    """The page lists every instrumentor that was run live: at least three quarters of those recorded. None failed."""
    recorded = {name.split("__")[0] for name in captures.names()}
    assert set(INSTRUMENTORS) <= recorded
    assert len(INSTRUMENTORS) >= 0.75 * len(recorded)
    page = PAGE.read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)) == set(INSTRUMENTORS)
    assert "**failed**" not in page
