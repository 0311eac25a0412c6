"""Reports: their forms, saving and loading, and comparison."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from pandaprobe_otel.evals import CaseResult, MetricResult, Report
from pandaprobe_otel.evals.comparison_html import comparison_page
from pandaprobe_otel.evals.outcome import Outcome
from pandaprobe_otel.evals.report_comment import comment
from pandaprobe_otel.evals.report_html import html_page
from pandaprobe_otel.evals.report_text import table

TRACE = {
    "trace_id": "0af76519-16cd-43dd-8448-eb211c80319c",
    "name": "t",
    "started_at": "2026-01-01T00:00:00Z",
    "ended_at": "2026-01-01T00:00:01Z",
    "spans": [
        {
            "span_id": "1",
            "name": "look<up>",
            "kind": "TOOL",
            "status": "ERROR",
            "error": "no <b>order</b>",
            "input": {"number": "A-17"},
            "started_at": "2026-01-01T00:00:00Z",
            "ended_at": "2026-01-01T00:00:01Z",
        }
    ],
}


def result(value: float | None, metric: str = "m", finding: str = "scored") -> MetricResult:
    """Return a result with a threshold of 0.5."""
    outcome = Outcome.NO_EVIDENCE
    if finding == "scored" and value is not None:
        outcome = Outcome.PASSED if value >= 0.5 else Outcome.FAILED
    return MetricResult(
        metric=metric, finding=finding, value=value, threshold=0.5, outcome=outcome, text=f"{metric}: said"
    )


def report(*values: float, prefix: str = "c") -> Report:
    """Return a report with one case for each value."""
    cases = tuple(CaseResult(id=f"{prefix}{n}", input="q", results=(result(value),)) for n, value in enumerate(values))
    return Report(name="shop", created_at="2026-01-01T00:00:00+00:00", cases=cases)


MIXED = Report(
    name="shop | <script>",
    created_at="2026-01-01T00:00:00+00:00",
    cases=(
        CaseResult(id="good", input="q", output="a", results=(result(0.9),), traces=(TRACE,)),
        CaseResult(id="bad", input="<img src=x>", output={"a": 1}, results=(result(0.2), result(1.0, "n", "vacuous"))),
        CaseResult(id="broken", input="q", error="ValueError: no", expected="x"),
        CaseResult(id="unjudged", input="q", results=(result(None, "n", "error"),)),
    ),
    notes=("a note",),
)


def test_outcomes_and_means() -> None:
    """Only judged scores count for the mean; missing evidence is distinguished from failure."""
    assert [case.outcome for case in MIXED.cases] == ["passed", "failed", "failed", "no evidence"]
    assert (MIXED.passed, MIXED.rate.passed, MIXED.metrics) == (False, 1, ("m", "n"))
    assert MIXED.means == {"m": pytest.approx(0.55)}
    with pytest.raises(AssertionError, match=r"1/3 passed .* 1 without evidence"):
        MIXED.assert_passed()
    report(0.9).assert_passed()


def test_the_table_and_markdown_name_what_failed() -> None:
    """Both forms have all cases and reasons; content is escaped in Markdown."""
    text, marked = str(MIXED), MIXED.to_markdown()
    for said in ("good", "0.20 < 0.50", "no evidence", "broken: ValueError: no", "a note"):
        assert said in text
    assert "## shop \\| \\<script\\>: failed" in marked
    assert "| bad | failed | 0.20 \\< 0.50 | no evidence | 0.00 |" in marked


@pytest.mark.parametrize("width", [60, 80, 140])
def test_the_table_fits_the_terminal(width: int) -> None:
    """Inputs and outputs are shown if there is room; shortened ids keep their end."""
    results = tuple(result(0.5, metric) for metric in ("task_completion", "tone"))
    cases = tuple(
        CaseResult(
            id=f"tests/test_shop.py::test_refund[{n}]", input="Where is it?" * n, output={"a": n}, results=results
        )
        for n in (1, 9)
    )
    lines = table(Report(name="shop", created_at="", cases=cases), width).split("\n\n")[0].splitlines()
    assert max(map(len, lines)) <= width
    assert "test_refund[9]" in lines[2]
    assert ("Where is it?" in lines[1], '{"a": 1}' in lines[1]) == (width > 100, width > 100)
    short = Report(name="shop", created_at="", cases=(CaseResult(id="c", input="q" * 99, output="a", results=results),))
    assert "qqqqqqqq…  a  " in table(short, 80)


def test_json_is_read_back_as_it_was(tmp_path: Path) -> None:
    """Saving and loading a report preserves everything."""
    MIXED.save(tmp_path / "new" / "r.json")
    assert Report.load(tmp_path / "new" / "r.json") == MIXED
    (tmp_path / "x.json").write_text("[]")
    with pytest.raises(ValueError, match="is not a report"):
        Report.load(tmp_path / "x.json")
    with pytest.raises(ValueError, match="must end in"):
        MIXED.save(tmp_path / "r.pdf")


class Page(HTMLParser):
    """A parser that collects tags, links and text, and fails on tags that do not match."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.links: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [str(value) for name, value in attrs if name in ("src", "href", "action", "data")]
        if tag not in ("meta", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_stands_alone_and_shows_everything(tmp_path: Path) -> None:
    """The page is well-formed, loads nothing, has only its own script, and shows contents as text."""
    MIXED.save(tmp_path / "r.html")
    source = (tmp_path / "r.html").read_text(encoding="utf-8")
    page = Page()
    page.feed(source)
    assert page.open == []
    assert not {"img", "link", "iframe", "b"} & set(page.tags)
    assert page.tags.count("script") == 1
    assert "default-src 'none'" in source
    assert all(link.startswith("#case-") for link in page.links)
    assert "url(" not in source
    assert "@import" not in source
    for said in ("look<up>(number='A-17')", "no <b>order</b>", "<img src=x>", "m: said", "ValueError: no", "a note"):
        assert said in page.text
    assert "<table>" in MIXED._repr_html_()


def test_a_regression_is_told_from_chance() -> None:
    """The same small drop is not significant for one case, and a regression for many."""
    before, after = report(*[0.9] * 12), report(*[0.8] * 12)
    comparison = after.compare(before)
    assert [change.metric for change in comparison.regressions] == ["m"]
    assert "m: 0.90 → 0.80 over 12 cases, regression (p = 0.000)" in str(comparison)
    assert report(0.8).compare(report(0.9)).regressions == ()
    better = before.compare(after)
    assert [change.change for change in better.changes] == ["improvement", "no significant change"]


def test_lost_cases_are_named() -> None:
    """The comparison names lost cases, and cases that only one report has."""
    comparison = report(*[0.2] * 6, 0.9).compare(report(*[0.9] * 6))
    assert {change.metric: len(change.lost) for change in comparison.regressions} == {"m": 6, "passed": 6}
    assert comparison.only_after == ("c6",)
    strange = report(1.0, prefix="x").compare(report(1.0))
    assert strange.outcome == "no evidence"
    assert str(strange).startswith("no case in common has evidence in both\ncases of the earlier report only: c0")


def test_metrics_of_one_report_alone_are_named() -> None:
    """A metric that only one report has is named in every form of the report."""

    def of(metric: str) -> Report:
        case = CaseResult(id="c", input="q", results=(result(0.9, metric),))
        return Report(name="shop", created_at="2026-01-01T00:00:00+00:00", cases=(case,))

    before, after = of("tone"), of("facts").against(of("tone"))
    assert after.comparison is not None
    forms = (
        str(after),
        after.to_markdown(),
        html_page(after),
        comment(after, key="k", before=before),
        comparison_page(before, after, after.comparison),
    )
    for form in forms:
        assert "metrics of the earlier report only: tone" in form
        assert "new metrics: facts" in form


def test_cases_judged_in_one_report_alone_are_not_compared() -> None:
    """Common cases without judgements in both reports cannot be compared."""
    silent = report(0.9)
    silent = replace(silent, cases=tuple(replace(case, results=()) for case in silent.cases)).against(report(0.9))
    assert silent.outcome == "no evidence"
    assert "no case in common has evidence in both" in str(silent)


def test_of_several_traces_the_worst_counts() -> None:
    """If a metric judged several traces of a case, the worst score counts in the table and in comparisons."""

    def both(*values: float) -> Report:
        case = CaseResult(id="c", input="q", results=tuple(map(result, values)))
        return Report(name="shop", created_at="2026-01-01T00:00:00+00:00", cases=(case,))

    assert "0.20 < 0.50" in str(both(0.9, 0.2, 0.8))
    (change, _) = both(0.9, 0.2).compare(both(0.7, 0.9)).changes
    assert (change.before, change.after, change.lost) == (0.7, 0.2, ("c",))
