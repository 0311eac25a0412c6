"""The page of a report in a real browser without network access."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from chromium import chromium
from command_line import clean_environment, run_here
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
    """CI must have a browser; elsewhere these tests may be skipped."""
    if BROWSER is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("no Chromium or Chrome is installed")


@pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome is installed")
def test_the_page_opens_without_a_network(tmp_path: Path) -> None:
    """Every case is shown with its scores and its trace; no script in the contents runs."""
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
"""Return the texts whose contrast is below level AA of WCAG 2."""


def test_the_page_can_be_read_in_the_light_and_in_the_dark_and_filtered(tmp_path: Path) -> None:
    """All texts have enough contrast in light and dark; filters leave the cases of one outcome."""

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
            page.get_by_label("search").fill(" CASE 2")
            assert page.locator("section:visible h2").all_inner_texts() == ["case 2 passed"]
            assert page.locator("tr:visible").count() == 3  # the header, the means, and one case
            assert page.locator("#found").inner_text() == "1 of 3"
            page.get_by_label("search").fill("a-17")  # text in a collapsed span
            assert page.locator("section:visible").count() == 3
            page.get_by_label("search").fill("")
            page.get_by_label("no evidence (1)").check()
            assert page.locator("section:visible h2").all_inner_texts() == ["case 1 no evidence"]
            page.close()


def test_a_page_of_others_runs_no_script_but_its_own(tmp_path: Path) -> None:
    """The page's policy allows one script, by its hash, whatever an agent has answered."""
    report = Report(
        name="<script>document.title = 'hijacked'</script>",
        created_at="now",
        cases=(CaseResult(id="<img src=x onerror=\"document.title = 'hijacked'\">", traces=(TRACE,)),),
    )
    report.save(tmp_path / "report.html")
    with chromium() as browser:
        page = browser.new_page()
        page.goto(f"file://{tmp_path}/report.html")
        page.evaluate("() => { document.body.insertAdjacentHTML('beforeend', '<svg onload=\"document.title=1\">') }")
        assert page.title() == "<script>document.title = 'hijacked'</script>: no evidence"


def span(name: str, start: int, parent: str | None = None, **fields: object) -> dict[str, object]:
    """Return a span."""
    moment = f"2026-01-01T00:00:{start:02}Z"
    known = {"span_id": name, "name": name, "kind": "TOOL", "started_at": moment, "ended_at": moment}
    return {**known, "parent_span_id": parent, "status": "OK", **fields}


def run(*spans: dict[str, object], value: float, output: str) -> Report:
    """Return a report of one case with these spans, and of one that is always the same."""
    outcome = Outcome.PASSED if value >= 0.5 else Outcome.FAILED
    score = MetricResult(
        metric="m", finding="scored", value=value, threshold=0.5, outcome=outcome, text=f"m {value}: <b>said</b>"
    )
    changing = CaseResult(
        id="changing <b>",
        input="q",
        output=output,
        results=(score,),
        traces=({**TRACE, "spans": list(spans)},),
    )
    return Report(
        name="shop",
        created_at="2026-01-01T00:00:00+00:00",
        cases=(changing, CaseResult(id="steady", input="q", traces=(TRACE,))),
    )


def test_two_runs_side_by_side(tmp_path: Path) -> None:
    """Differences are marked in light and dark, and can be searched for; equal cases are only named."""
    call = {"tool_calls": [{"id": "call_1", "function": {"name": "look_up"}}]}
    again = {"tool_calls": [{"id": "call_2", "function": {"name": "look_up"}}]}
    before = run(
        span("agent", 0, kind="AGENT"),
        span("ask", 1, "agent", kind="LLM", output=call),
        span("look_up", 2, "agent", input={"number": "A-17"}, output="kettle"),
        span("refund", 3, "agent"),
        value=0.9,
        output="refunded\nthank you",
    )
    after = run(
        span("agent", 0, kind="AGENT"),
        span("ask", 1, "agent", kind="LLM", output=again),
        span("look_up", 2, "agent", input={"number": "A-71"}, output="kettle"),
        span("apologise", 3, "agent"),
        value=0.2,
        output="sorry\nthank you",
    )
    before.save(tmp_path / "before.json")
    after.save(tmp_path / "after.json")
    done = run_here(
        *("report", "compare", str(tmp_path / "before.json"), str(tmp_path / "after.json")),
        *("--html", str(tmp_path / "new" / "both.html")),
        environment=clean_environment(tmp_path),
    )
    assert (done.returncode, "lost: changing <b>" in done.stdout) == (0, True), done.stderr
    with chromium() as browser:
        for scheme in ("light", "dark"):
            page = browser.new_page(color_scheme=scheme, viewport={"width": 1400, "height": 900})
            page.goto(f"file://{tmp_path}/new/both.html")
            assert page.evaluate(_FAINT) == [], scheme
            assert page.locator("section h2").all_inner_texts() == [
                "changing <b> passed → failed",
                "steady no evidence → no evidence",
            ]
            spans = page.locator("#case-0 .pair:has(.kind)")
            marks = [(spans.nth(n).get_attribute("class") or "").split()[1] for n in range(spans.count())]
            assert marks == ["same", "same", "changed", "left", "right"]
            assert "refund() 0 ms before only" in spans.nth(3).inner_text()
            assert page.get_by_text("3 spans of 5 differ").is_visible()
            page.locator("summary", has_text="input changed").click()
            assert page.locator("#case-0 del:visible").all_inner_texts() == ["- refunded", '-   "number": "A-17"']
            assert page.locator("#case-0 ins:visible").all_inner_texts() == ["+ sorry", '+   "number": "A-71"']
            left, right = (
                spans.nth(n).locator(":scope > div").nth(side).bounding_box() for n, side in ((2, 0), (2, 1))
            )
            assert left is not None
            assert right is not None
            assert left["x"] + left["width"] <= right["x"]
            page.get_by_label("lost (1)").check()
            assert page.locator("section:visible").count() == 1
            page.close()
