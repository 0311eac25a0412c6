"""The pages of reports in a real browser without network access."""

from __future__ import annotations

from pathlib import Path

from chromium import chromium
from command_line import clean_environment, run_here
from made_reports import TRACE, case, report

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
    """All texts have enough contrast; filters leave the cases of one outcome; no script but the page's own runs."""
    script = "<script>document.title = 'hijacked'</script>"
    cases = (
        case("case 0", 0.2, error="it broke", output=script, traces=(TRACE,)),
        case("case 1", None, traces=(TRACE,)),
        case("case 2", 0.9, traces=(TRACE,), input="<img src=x onerror=\"document.title = 'hijacked'\">"),
    )
    report(*cases, name=script, notes=("a note",)).save(tmp_path / "report.html")
    with chromium() as browser:
        for scheme in ("light", "dark"):
            page = browser.new_page(color_scheme=scheme, offline=True)
            page.goto(f"file://{tmp_path}/report.html")
            page.evaluate(
                "() => { document.body.insertAdjacentHTML('beforeend', '<svg onload=\"document.title=1\">') }"
            )
            assert page.title() == f"{script}: failed"
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


def test_two_runs_side_by_side(tmp_path: Path) -> None:
    """Differences are marked in light and dark and stand side by side; equal cases are only named."""
    spans = [{**TRACE["spans"][0], "input": {"number": "A-71"}}]
    before = report(
        case("changing <b>", output="refunded\nthanks", traces=(TRACE,), input="q"), case("steady", input="q")
    )
    after = report(
        case("changing <b>", output="sorry\nthanks", traces=({**TRACE, "spans": spans},), input="q"),
        case("steady", input="q"),
    )
    before.save(tmp_path / "before.json")
    after.save(tmp_path / "after.json")
    command = ("evals", "compare", str(tmp_path / "before.json"), str(tmp_path / "after.json"))
    run_here(*command, "--html", str(tmp_path / "new" / "both.html"), environment=clean_environment(tmp_path))
    with chromium() as browser:
        for scheme in ("light", "dark"):
            page = browser.new_page(color_scheme=scheme, viewport={"width": 1400, "height": 900})
            page.goto(f"file://{tmp_path}/new/both.html")
            assert page.evaluate(_FAINT) == [], scheme
            page.locator("summary", has_text="input changed").click()
            assert page.locator("#case-0 del:visible").all_inner_texts() == ["- refunded", '-   "number": "A-17"']
            assert page.locator("#case-0 ins:visible").all_inner_texts() == ["+ sorry", '+   "number": "A-71"']
            left, right = (page.locator("#case-0 .pair.changed > div").nth(side).bounding_box() for side in (0, 1))
            assert left is not None
            assert right is not None
            assert left["x"] + left["width"] <= right["x"]
            page.get_by_label("different (1)").check()
            assert page.locator("section:visible").count() == 1
            page.close()
