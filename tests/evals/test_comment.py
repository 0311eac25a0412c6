"""The comment on a pull request: its content, and its room."""

from __future__ import annotations

import re
from pathlib import Path

from made_reports import TRACE, case, report, score
from pandaprobe_otel.evals import Report
from pandaprobe_otel.evals.report_blocks import add_summary, comment, marker
from pandaprobe_otel.traces.blocks import code


def test_each_key_has_a_comment_of_its_own() -> None:
    """Keys in any script and of any length have different markers, and no key ends the marker early."""
    keys = ["shop", "test suite", "a-b", "a b", "a--b", "支付", "退款", "", "k" * 200, "k" * 201, "x --> y"]
    lines = [marker(key) for key in keys]
    assert len(set(lines)) == len(keys)
    assert all(line.count("--") == 2 and line.isascii() and len(line) < 160 for line in lines)


def test_a_quoted_answer_mentions_nobody() -> None:
    """An agent's answer is quoted as code: it cannot mention, refer, show a picture or break the table."""
    odd = "@shop/owners see #1 ![x](http://e.com/x.png) `` | <img src=x> --> \n# heading"
    name = "a | b ``` @anna"
    text = comment(report(case(name, 0.2, reason=odd), notes=("@anna",)), key="x --> @anna <b>")
    assert re.fullmatch(r"<!-- pandaprobe-otel report: x anna b \w+ -->", text.splitlines()[0])
    outside = re.sub(r"(`+)(?!`).+?(?<!`)\1(?!`)", "", text.partition("\n")[2])
    assert [each for each in ("@", "#1", "![", "<img", "heading", "anna") if each in outside] == []
    assert code("a`") == "`` a` ``"
    assert code("\n") == "` `"


def test_a_long_run_has_room() -> None:
    """The comment stays below GitHub's limit, and gives the number of omitted cases."""
    url = f"https://example.com/{'p' * 60}/{{trace_id}}"

    def long(value: float, *metrics: str) -> Report:
        scores = tuple(score(value, metric, "`" * 4000) for metric in metrics)
        cases = (case("c" * 400 + str(n), results=scores, traces=(TRACE,)) for n in range(300))
        return report(*cases, notes=("n" * 5000,) * 100, trace_url=url)

    text = comment(long(0.2, "m"), key="k" * 999, before=long(0.9, "m"))
    assert len(text) < 65_000
    assert "… 270 more cases" in text
    wide = ["m" * 290 + str(n) for n in range(40)]
    text = comment(long(0.2, *wide), key="k", before=long(0.9, *wide))
    assert len(text) < 65_536
    assert "The rest does not fit into a comment." in text
    assert text.count("<details>") == text.count("</details>")


def test_a_summary_is_no_longer_than_github_takes(tmp_path: Path) -> None:
    """The summary ends at a whole line below GitHub's limit, also after existing text; lone surrogates are replaced."""
    path = tmp_path / "summary.md"
    path.write_text("before\n")
    environ = {"GITHUB_STEP_SUMMARY": str(path)}
    add_summary("odd \ud800\n", environ)
    for _ in range(3):
        add_summary("x" * 98 + "y\n", environ)
        add_summary(("x" * 98 + "y\n") * 9000, environ)
    assert path.stat().st_size <= 1 << 20
    lines = path.read_text().splitlines()
    assert lines[:2] == ["before", "odd ?"]
    assert lines[-1] == "There is more, for which a summary has no room: see the report."
    assert {line[-1:] for line in lines[2:] if line.startswith("x")} == {"y"}
