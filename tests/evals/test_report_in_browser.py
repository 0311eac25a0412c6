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


def test_pages_can_be_read_in_the_light_and_in_the_dark(tmp_path: Path) -> None:
    """All texts have enough contrast, no content runs, and a link in the table opens its case."""
    script = "<script>document.title = 'hijacked'</script>"
    cases = (
        case("case 0", 0.2, error="it broke", output=script, traces=(TRACE,)),
        case("case 1", 0.9, traces=(TRACE,), input="<img src=x onerror=\"document.title = 'hijacked'\">"),
    )
    spans = [{**TRACE["spans"][0], "input": {"number": "A-71"}}]
    changed = case("case 1", 0.1, traces=({**TRACE, "spans": spans},), output="sorry")
    report(*cases, name=script, notes=("a note",)).save(tmp_path / "run.html")
    report(*cases).save(tmp_path / "before.json")
    report(cases[0], changed).save(tmp_path / "after.json")
    command = ("evals", "compare", str(tmp_path / "before.json"), str(tmp_path / "after.json"))
    run_here(*command, "--html", str(tmp_path / "both.html"), environment=clean_environment(tmp_path))
    with chromium() as browser:
        for scheme in ("light", "dark"):
            for name in ("run", "both"):
                page = browser.new_page(color_scheme=scheme, offline=True)
                page.goto(f"file://{tmp_path}/{name}.html")
                assert "hijacked" not in page.title()[:9]
                page.locator('a[href="#case-1"]').click()
                assert page.locator("#case-1").is_visible()
                page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
                assert page.evaluate(_FAINT) == [], (scheme, name)
                page.close()
