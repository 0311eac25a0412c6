"""The page of a report in a real browser, which cannot reach any network."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from chromium import chromium
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


_FAINT = """
() => {
  const channel = (c) => { c /= 255; return c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4; };
  const light = (text) => {
    const [r, g, b] = text.match(/[\\d.]+/g).map(Number);
    return 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  };
  const behind = (node) => {
    for (; node; node = node.parentElement) {
      const colour = getComputedStyle(node).backgroundColor;
      if (!colour.endsWith(", 0)")) return colour;
    }
    return "rgb(255, 255, 255)";
  };
  const faint = [];
  for (const node of document.body.querySelectorAll("*")) {
    if (![...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim())) continue;
    const [a, b] = [light(getComputedStyle(node).color), light(behind(node))].sort((x, y) => y - x);
    const contrast = (a + 0.05) / (b + 0.05);
    if (contrast < 4.5) faint.push(`${node.tagName} ${node.textContent.slice(0, 30)}: ${contrast.toFixed(1)}`);
  }
  return faint;
}
"""
"""What cannot be read by the measure of WCAG 2, AA."""


def test_the_page_can_be_read_in_the_light_and_in_the_dark_and_filtered(tmp_path: Path) -> None:
    """All texts stand out from what is behind them; a choice leaves the cases of one outcome."""

    def case(number: int, outcome: Outcome) -> CaseResult:
        value = {Outcome.PASSED: 0.9, Outcome.FAILED: 0.2, Outcome.NO_EVIDENCE: None}[outcome]
        score = MetricResult(metric="m", finding="scored", value=value, threshold=0.5, outcome=outcome, text="m: said")
        error = "it broke" if outcome is Outcome.FAILED else None
        return CaseResult(id=f"case {number}", input="q", error=error, results=(score,), traces=(TRACE,))

    report = Report(
        name="shop",
        created_at="2026-01-01T00:00:00+00:00",
        cases=tuple(map(case, range(3), Outcome)),
        notes=("a note",),
    )
    report.save(tmp_path / "report.html")
    with chromium() as browser:
        for scheme in ("light", "dark"):
            page = browser.new_page(color_scheme=scheme)
            page.goto(f"file://{tmp_path}/report.html")
            assert page.evaluate(_FAINT) == [], scheme
            assert page.locator("section:visible").count() == 3
            page.get_by_label("no evidence (1)").check()
            assert page.locator("section:visible h2").all_inner_texts() == ["case 1 no evidence"]
            page.close()
