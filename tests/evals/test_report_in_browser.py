"""The pages of reports in a real browser without network access."""

from __future__ import annotations

from pathlib import Path

from chromium import chromium
from command_line import clean_environment, run_here
from made_reports import TRACE, case, report
from watched_tabs import found_by_axe


def test_pages_can_be_read_in_the_light_and_in_the_dark(tmp_path: Path) -> None:
    """Axe reports no fault, no content runs, and a link in the table opens its case."""
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
                assert found_by_axe(page) == [], (scheme, name)
                page.close()
