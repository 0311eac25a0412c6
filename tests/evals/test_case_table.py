"""The report in the terminal: a table that can be read at any width, and the traces of cases that did not pass."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from pandaprobe_otel.cli.case_table import Trees, show_report
from pandaprobe_otel.evals import CaseResult, MetricResult, Report
from pandaprobe_otel.evals.outcome import Outcome
from pandaprobe_otel.local import LocalServer
from pandaprobe_otel.reporting.trace_links import page_of, trace_template
from suites import RunCommand

TRACE: dict[str, Any] = {
    "trace_id": "0af76519-16cd-43dd-8448-eb211c80319c",
    "started_at": "2026-01-01T00:00:00Z",
    "ended_at": "2026-01-01T00:00:01Z",
    "spans": [
        {
            "span_id": "1",
            "name": "look_up",
            "kind": "TOOL",
            "status": "ERROR",
            "error": "no order",
            "input": {"number": "A-17"},
            "started_at": "2026-01-01T00:00:00Z",
            "ended_at": "2026-01-01T00:00:01Z",
            "token_usage": {"prompt_tokens": 1200, "completion_tokens": 34},
            "cost": {"total": 0.0125},
        }
    ],
}


def case(name: str, outcome: Outcome, reason: str = "said", **fields: Any) -> CaseResult:
    """Return a case with one score."""
    value = {Outcome.PASSED: 0.9, Outcome.FAILED: 0.2, Outcome.NO_EVIDENCE: None}[outcome]
    text = f"tone {value}: {reason}"
    result = MetricResult(metric="tone", finding="scored", value=value, threshold=0.5, outcome=outcome, text=text)
    return CaseResult(id=name, results=(result,), traces=(TRACE,), **fields)


def report(*cases: CaseResult, trace_url: str | None = None) -> Report:
    """Return a report of these cases."""
    return Report(name="shop", created_at="now", cases=cases, notes=("a note",), trace_url=trace_url)


def shown(found: Report, width: int = 80, trees: Trees = "failed", encoding: str = "utf-8") -> str:
    """Return the output of the report on a terminal of this width."""
    screen = io.BytesIO()
    file = io.TextIOWrapper(screen, encoding=encoding, write_through=True)
    show_report(found, trees, out=Console(width=width, file=file, highlight=False))
    return screen.getvalue().decode(encoding)


@pytest.mark.parametrize("width", [60, 80, 140])
def test_the_table_can_be_read_at_any_width(width: int) -> None:
    """Inputs, outputs, ticks, scores and reasons are shown in full, and no line is wider than the terminal."""
    asked, answered = "I want a refund for order 17, please", "39.00 paid back, sorry for the trouble"
    found = case(
        "tests/test_shop.py::test_refund_of_an_order[order-17]",
        Outcome.PASSED,
        "it is polite, and tells what was paid back",
        input=asked,
        output={"text": answered},
        expected="39.00 paid back",
    )
    text = shown(report(found), width)
    assert max(map(len, text.splitlines())) <= width
    words = set(text.split())
    assert {*asked.split(), "39.00", "expected:", 'trouble"}', "✔", "0.9:", "polite,", "tells"} <= words
    start = next(line for line in text.splitlines() if "input" in line).index("input")
    assert found.id in "".join(line[:start].strip() for line in text.splitlines())


def test_cases_that_did_not_pass_follow_below_the_table() -> None:
    """Cases that did not pass follow with reasons, the tree of the trace and its page; passed cases only on request."""
    found = report(
        case("good", Outcome.PASSED),
        case("bad", Outcome.FAILED, "it is curt"),
        case("unknown", Outcome.NO_EVIDENCE),
        trace_url="http://127.0.0.1:1/ui/traces/{trace_id}",
    )
    text = shown(found)
    assert "✘ bad: failed\n  tone 0.2: it is curt\n  trace 0af76519" in text
    assert "look_up(number='A-17')  ERROR no order" in text
    assert "http://127.0.0.1:1/ui/traces/0af76519-16cd-43dd-8448-eb211c80319c\n" in text
    assert "? unknown: no evidence\n" in text
    assert ("good: passed" in text, text.count("TOOL")) == (False, 2)
    assert "a note\n3 cases, 3 traces, 3,702 tokens, $0.0375, 0.0 s\nfailed: 1/2 passed" in text
    assert (shown(found, trees="all").count("TOOL"), shown(found, trees="none").count("TOOL")) == (3, 0)
    assert "bad: failed\n  tone 0.2: it is curt" in shown(found, trees="none")


def test_many_failures_do_not_bury_the_verdict() -> None:
    """The first ten failures are shown, then the number of the other failures."""
    found = report(*(case(f"c{number}", Outcome.FAILED) for number in range(13)))
    assert ("and 3 more: shown with --tree all" in shown(found), shown(found).count("TOOL")) == (True, 10)
    assert ("more: shown with --tree" in shown(found, trees="all"), shown(found, trees="all").count("TOOL")) == (
        False,
        13,
    )


def test_a_large_trace_does_not_bury_the_verdict() -> None:
    """The first spans of a case's traces are shown, then the number of the others; all spans are shown on request."""
    spans = [{**TRACE["spans"][0], "span_id": str(n), "name": f"step_{n}"} for n in range(500)]
    large = replace(case("bad", Outcome.FAILED), traces=({**TRACE, "spans": spans}, {**TRACE, "trace_id": "second"}))
    text = shown(report(large))
    assert text.count("step_") == 59
    assert "and 441 more spans: shown with --tree all or --report" in text
    assert "trace second" in text
    assert shown(report(large), trees="all").count("step_") == 500


def test_an_output_cannot_command_the_terminal() -> None:
    """Escape sequences and markup in an agent's answer have no effect on the terminal."""
    text = shown(
        report(case("bad", Outcome.FAILED, "\x1b[31mred", input="[bold]x[/bold]", output="\x1b]0;t\x07\x1b[2J"))
    )
    assert "\x1b" not in text
    assert "[bold]x[/bold]" in text


def test_a_terminal_without_unicode() -> None:
    """A terminal without Unicode gets words instead of ticks."""
    text = shown(report(case("bad", Outcome.FAILED)), encoding="ascii")
    assert "FAIL bad: failed" in text


def test_the_page_of_a_trace_is_that_of_a_local_server_or_is_named(
    server: LocalServer,
) -> None:
    """Traces link to a local server's pages or to a named address; remote servers and unsafe addresses get no link."""
    assert trace_template(server.url, named=None) == f"{server.url}/ui/traces/{{trace_id}}"
    others = (None, "http://127.0.0.1:9", "https://api.example.com", "http://u:p@127.0.0.1:9")
    assert [trace_template(url, named=None) for url in others] == [None] * 4
    assert (
        page_of("1", trace_template(server.url, named="https://example.com/t/{trace_id}")) == "https://example.com/t/1"
    )
    assert page_of("1", "javascript:alert({trace_id})") is None


HOSTILE = "\x1b]0;owned\x07\x1b[31m"
SCORERS = f"""
from pandaprobe_otel.evals import Judgement

def low(run):
    return Judgement.scored(0.2, {HOSTILE!r})

def unknown(run):
    return Judgement.error({HOSTILE!r})
"""


@pytest.mark.parametrize(
    "command",
    [
        ("report", "gate", "run.json", "--baseline", "run.json"),
        ("report", "compare", "base.json", "run.json"),
        ("report", "comment", "run.json", "--print"),
        ("evals", "agreement", "labelled.jsonl", "--scorer", "scorers:low"),
        ("evals", "agreement", "labelled.jsonl", "--scorer", "scorers:unknown"),
        ("eval", "labelled.jsonl", "--task", "builtins:str", "--scorer", "scorers:low"),
    ],
    ids=" ".join,
)
def test_a_terminal_obeys_no_report_and_no_judge(
    run_command: RunCommand, tmp_path: Path, command: tuple[str, ...]
) -> None:
    """Escape sequences in ids, names, reasons, notes and addresses of traces do not reach the terminal."""
    (tmp_path / "scorers.py").write_text(SCORERS)
    labelled = [{"id": f"{HOSTILE}{label}", "input": "q", "output": "a", "label": label} for label in ("yes", "no")]
    (tmp_path / "labelled.jsonl").write_text("\n".join(map(json.dumps, labelled)))
    bad = case(f"{HOSTILE}c", Outcome.FAILED, HOSTILE, input=HOSTILE, output=HOSTILE, error=HOSTILE)
    report(bad, trace_url=f"https://example.com/{HOSTILE}{{trace_id}}").save(tmp_path / "run.json")
    report(case("c", Outcome.PASSED)).save(tmp_path / "base.json")
    done = run_command(*command)
    assert done.returncode in (0, 1, 6), done.stderr
    assert "owned" in done.stdout
    assert "\x1b" not in done.stdout + done.stderr
