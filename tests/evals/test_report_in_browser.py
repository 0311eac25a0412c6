"""The page of a report in a real browser, which cannot reach any network."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from pandaprobe_otel.evals import CaseResult, MetricResult, Report
from pandaprobe_otel.evals.outcome import Outcome

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

TRACE = {
    "trace_id": "0af76519-16cd-43dd-8448-eb211c80319c",
    "name": "t",
    "started_at": "2026-01-01T00:00:00Z",
    "ended_at": "2026-01-01T00:00:01Z",
    "spans": [
        {
            "span_id": "1",
            "name": "look_up",
            "kind": "TOOL",
            "status": "OK",
            "input": {"number": "A-17"},
            "output": "<script>document.title = 'hijacked'</script>",
            "started_at": "2026-01-01T00:00:00Z",
            "ended_at": "2026-01-01T00:00:01Z",
        }
    ],
}


def test_a_browser_is_here() -> None:
    """In CI the page must have been looked at; elsewhere a machine may do without."""
    if BROWSER is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("no Chromium or Chrome is installed")


@pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome is installed")
def test_the_page_opens_without_a_network(tmp_path: Path) -> None:
    """Every case is there with its scores and its trace; nothing in the contents runs."""
    score = MetricResult(
        metric="m", finding="scored", value=0.25, threshold=0.5, outcome=Outcome.FAILED, text="m 0.25 < 0.50: too short"
    )
    cases = tuple(CaseResult(id=f"case {n}", input="q", output="a", results=(score,), traces=(TRACE,)) for n in (1, 2))
    Report(name="shop", created_at="2026-01-01T00:00:00+00:00", cases=cases).save(tmp_path / "report.html")
    offline = [
        "--host-resolver-rules=MAP * ~NOTFOUND",
        "--proxy-server=127.0.0.1:9",
        f"--user-data-dir={tmp_path / 'b'}",
    ]
    done = subprocess.run(
        [
            str(BROWSER),
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            *offline,
            "--dump-dom",
            f"file://{tmp_path}/report.html",
        ],
        capture_output=True,
        encoding="utf-8",
        timeout=90,
        check=True,
    )
    assert "<title>shop: failed</title>" in done.stdout
    assert done.stdout.count("<section id=") == 2
    assert done.stdout.count("m 0.25 &lt; 0.50: too short") == 2
    assert done.stdout.count("look_up(number='A-17')") == 2
