"""Comparison of two runs: differing cases and spans, the totals of both, and the command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from command_line import clean_environment, run_here
from pandaprobe_otel.evals import CaseResult, MetricResult, Report
from pandaprobe_otel.evals.comparison_html import comparison_page
from pandaprobe_otel.evals.outcome import Outcome
from pandaprobe_otel.evals.side_by_side import paired
from pandaprobe_otel.evals.traces import TraceRecord, walk
from pandaprobe_otel.evals.usage_totals import sums


def trace(*names: str, **fields: Any) -> dict[str, Any]:
    """Return a trace whose spans form a chain."""
    now = "2026-01-01T00:00:00Z"
    spans = [
        {"span_id": name, "name": name, "kind": "LLM", "parent_span_id": above, "started_at": now, **fields}
        for above, name in zip((None, *names), names, strict=False)
    ]
    return {"trace_id": "t", "started_at": now, "spans": spans}


def case(name: str, value: float = 0.9, *traces: dict[str, Any], **fields: Any) -> CaseResult:
    """Return a case with one score."""
    outcome = Outcome.PASSED if value >= 0.5 else Outcome.FAILED
    score = MetricResult(metric="m", finding="scored", value=value, threshold=0.5, outcome=outcome, text=f"m {value}")
    return CaseResult(id=name, results=(score,), traces=traces, **fields)


def report(*cases: CaseResult) -> Report:
    """Return a report of these cases."""
    return Report(name="shop", created_at="now", cases=cases)


def test_each_case_is_of_one_kind() -> None:
    """Cases are lost, won, different in output, verdicts or spans, or in one run only."""
    before = report(
        case("lost"),
        case("won", 0.1),
        case("said", output="a"),
        case("spans", 0.9, trace("a", "b")),
        case("more", 0.9, trace("a")),
        case("same", 0.9, trace("a", model="m"), output="a"),
        case("gone"),
    )
    after = report(
        case("new"),
        case("same", 0.8, trace("a", model="m", ended_at="2026-01-01T00:00:09Z"), output="a"),
        case("more", 0.9, trace("a"), trace("a")),
        case("spans", 0.9, trace("a", "c")),
        case("said", output="b"),
        case("won"),
        case("lost", 0.1),
    )
    found = {pair.id: pair.kind for pair in paired(before, after)}
    assert list(found.items()) == [
        ("new", "new"),
        ("same", "same"),
        ("more", "different"),
        ("spans", "different"),
        ("said", "different"),
        ("won", "won"),
        ("lost", "lost"),
        ("gone", "gone"),
    ]
    assert "</html>" in comparison_page(before, after, after.compare(before))


def test_spans_are_matched_by_name_kind_and_depth() -> None:
    """An added span leaves later spans unchanged; call ids, times and tokens are not compared."""
    call = {"tool_calls": [{"id": "call_abcdefgh", "function": {"name": "f"}}]}
    other = {"tool_calls": [{"id": "call_ijklmnop", "function": {"name": "f"}}]}
    before = trace("a", "b", input=call, token_usage={"prompt_tokens": 1})
    after = trace("a", "b", input=other, token_usage={"prompt_tokens": 2})
    after["spans"].insert(1, {**after["spans"][0], "span_id": "x", "name": "x", "parent_span_id": "a"})
    after["spans"][2]["output"] = "new"
    ((pair,),) = (one.traces for one in paired(report(case("c", 0.9, before)), report(case("c", 0.9, after))))
    assert [(span.change, span.fields, span.depth) for span in pair.spans] == [
        ("same", (), 0),
        ("right", (), 1),
        ("changed", ("output",), 1),
    ]
    assert pair.differing == 2


def test_spans_that_are_their_own_ancestors_are_shown_once() -> None:
    """Each span is shown once, even if it is its own parent, in a cycle, or below a cycle."""
    odd = trace("a", "b", "c", "d", "e")
    for span, parent in zip(odd["spans"], (None, "b", "d", "c", "d"), strict=True):
        span["parent_span_id"] = parent
    assert sorted(span.name for _, span in walk(TraceRecord(odd))) == ["a", "b", "c", "d", "e"]


def test_sums_are_of_the_cases_of_both_runs() -> None:
    """Totals of tokens, cost and time cover the cases of both runs; unknown totals are omitted."""
    cheap = trace("a", token_usage={"prompt_tokens": 900, "completion_tokens": 100}, cost={"total": 0.01})
    dear = trace("a", token_usage={"prompt_tokens": 1400, "completion_tokens": 100}, cost={"total": 0.02})
    before = report(case("c", 0.9, cheap, seconds=2.0), case("gone", 0.9, cheap))
    after = report(case("c", 0.9, dear, seconds=1.0))
    assert [(line.name, line.before, line.after, line.change) for line in sums(before, after)] == [
        ("tokens", "1,000", "1,500", "+50%"),
        ("cost", "$0.0100", "$0.0200", "+100%"),
        ("seconds", "2.0", "1.0", "-50%"),
    ]
    silent = report(case("c", seconds=0.0))
    assert [(line.name, line.change) for line in sums(silent, silent)] == [("seconds", "none")]


@pytest.mark.parametrize(("value", "name", "code"), [(0.9, "c", 0), (0.2, "c", 1), (0.9, "other", 6)])
def test_the_command(tmp_path: Path, value: float, name: str, code: int) -> None:
    """The exit code depends on a significant regression; the JSON output has all changes."""
    report(*(case(f"c{n}") for n in range(6))).save(tmp_path / "before.json")
    report(*(case(f"{name}{n}", value) for n in range(6))).save(tmp_path / "after.json")
    command = ("report", "compare", str(tmp_path / "before.json"), str(tmp_path / "after.json"))
    environment = clean_environment(tmp_path)
    done = run_here(*command, environment=environment)
    assert done.returncode == code, done.stdout + done.stderr
    assert ("regression (p = " in done.stdout, "no case in common" in done.stdout) == (code == 1, code == 6)
    plain = json.loads(run_here(*command, "--format", "json", environment=environment).stdout)
    assert plain["outcome"] == {0: "passed", 1: "failed", 6: "no evidence"}[code]
    assert [change["metric"] for change in plain["changes"]] == ([] if code == 6 else ["m", "passed"])


def test_a_file_that_is_no_report(tmp_path: Path) -> None:
    """A file that is not a report is refused with one line."""
    (tmp_path / "x.json").write_text("[]")
    done = run_here("report", "compare", *[str(tmp_path / "x.json")] * 2, environment=clean_environment(tmp_path))
    assert (done.returncode, "is not a report" in done.stderr) == (4, True)
