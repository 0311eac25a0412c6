"""Reports: the whole output of each command, files that are read back, pages, and the comparison of two runs."""

from __future__ import annotations

import json
import os
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from command_line import clean_environment, run_here
from made_reports import BEGAN, TRACE, case, report, reports_of, score
from pandaprobe_otel.evals import Report
from pandaprobe_otel.evals.report_blocks import report_text
from suites import RunCommand

PRINTED = Path(__file__).with_name("printed")
HOSTILE = "\x1b]0;owned\x07\x1b[31m"


def trace(*names: str, **fields: Any) -> dict[str, Any]:
    """Return a trace whose spans form a chain."""
    spans = [
        {"span_id": name, "name": name, "kind": "LLM", "parent_span_id": above, "started_at": BEGAN, **fields}
        for above, name in zip((None, *names), names, strict=False)
    ]
    return {"trace_id": "t", "started_at": BEGAN, "spans": spans}


USAGE = {"token_usage": {"prompt_tokens": 2400, "completion_tokens": 68}, "cost": {"total": 0.025}}
MIXED = report(
    case(
        "good",
        0.9,
        reason="it is polite",
        input="I want a refund, please",
        output="Paid back",
        traces=(TRACE,),
        seconds=1.0,
    ),
    case("bad | `x`", 0.2, reason="@anna #1 <img src=x>", input="<img src=x>", output={"a": 1}, traces=(TRACE, TRACE)),
    case("broken", input="q", error="ValueError: no", expected="x"),
    case("unjudged", input="q", results=(score(None, "n", finding="error"), score(1.0, "n", finding="vacuous"))),
    case("several", 0.9, 0.2, 0.8),
    name="shop | <script>",
    notes=("a note",),
    trace_url="http://127.0.0.1:1/ui/traces/{trace_id}",
)
BEFORE = report(
    case(
        "good",
        results=(score(0.9), score(0.7, "tone")),
        traces=(trace("a", **USAGE),),
        output="Paid",
        seconds=2.0,
    ),
    case("bad | `x`", 0.8),
    case("broken", 0.7),
    case("several", 0.7, 0.9),
    case("gone", 0.9, traces=(TRACE,)),
)
GOOD, BAD = reports_of(0.9, 0.2, metric="@m")


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Return a folder with the saved reports."""
    saved = {"mixed": MIXED, "before": BEFORE, "good": GOOD, "bad": BAD, "few": reports_of(0.9, 0.2, 1)[0]}
    for name, found in saved.items():
        found.save(tmp_path / f"{name}.json")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "command", "code"),
    [
        ("gate", "evals gate mixed.json --baseline before.json", 1),
        ("gate-all", "evals gate mixed.json --tree all", 1),
        ("compare", "evals compare before.json mixed.json", 0),
        ("regression", "evals compare good.json bad.json", 1),
        ("strange", "evals compare few.json before.json", 6),
        ("json", "evals compare good.json bad.json --format json", 1),
        ("improvement", "evals compare bad.json good.json", 0),
        ("comment", "evals comment mixed.json --baseline before.json --link page=https://e.com/(1)", 0),
        ("comment-regression", "evals comment bad.json --baseline good.json", 0),
        ("comment-alone", "evals comment mixed.json --key x-->@anna", 0),
    ],
)
def test_the_whole_output(files: Path, run_command: RunCommand, name: str, command: str, code: int) -> None:
    """Each command prints what tests/evals/printed has; `WRITE_PRINTED=1` writes these files anew."""
    done = run_command(*command.split(), COLUMNS="100")
    if os.environ.get("WRITE_PRINTED"):
        (PRINTED / f"{name}.txt").write_text(done.stdout, encoding="utf-8")
    assert _rounded(done.stdout) == _rounded((PRINTED / f"{name}.txt").read_text(encoding="utf-8"))
    assert (done.returncode, files.exists()) == (code, True), done.stderr


def _rounded(text: str) -> str:
    """Round long fractions: from 3.12 on, Python adds floats with less error."""
    return re.sub(r"\d+\.\d{10,}", lambda found: f"{float(found[0]):.9g}", text)


@pytest.mark.parametrize("form", ["text", "markdown"])
def test_the_whole_text(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`str(report)` and `to_markdown()` have all cases and reasons, with content escaped in Markdown."""
    monkeypatch.setenv("COLUMNS", "80")
    text = (str(MIXED) if form == "text" else MIXED.to_markdown()) + "\n"
    if os.environ.get("WRITE_PRINTED"):
        (PRINTED / f"{form}.txt").write_text(text, encoding="utf-8")
    assert text == (PRINTED / f"{form}.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("width", [60, 80, 140])
def test_the_table_can_be_read_at_any_width(width: int) -> None:
    """Ids, outcomes and scores are shown in full, and no line of the table is wider than the terminal."""
    name = "tests/test_shop.py::test_refund_of_an_order[order-17]"
    results = tuple(score(0.9, metric) for metric in ("task_completion", "tool_correctness", "politeness"))
    lines = report_text(report(case(name, results=results)), width=width).splitlines()
    assert max(map(len, lines[:-1])) <= width
    assert lines[0].split() == ["case", "outcome"] or "seconds" in lines[0]
    first = [line[: lines[0].index("outcome")].strip() for line in lines[1:]]
    assert name in "".join(first)
    assert " ".join(lines).count("0.90") == 6


def test_many_failures_do_not_bury_the_verdict(tmp_path: Path) -> None:
    """The first ten failures and their first spans are shown, then the number of the others, and all on request."""
    spans = [{**TRACE["spans"][0], "span_id": str(n), "name": f"step_{n}"} for n in range(500)]
    cases = [case(f"c{number}", 0.2, traces=(TRACE,)) for number in range(13)]
    cases[0] = replace(cases[0], traces=({**TRACE, "spans": spans}, {**TRACE, "trace_id": "second"}))
    report(*cases).save(tmp_path / "r.json")
    environment = clean_environment(tmp_path, COLUMNS="200")
    command = ("evals", "gate", str(tmp_path / "r.json"))
    text = run_here(*command, environment=environment).stdout
    every = run_here(*command, "--tree", "all", environment=environment).stdout
    none = run_here(*command, "--tree", "none", environment=environment).stdout
    assert "… 3 more cases: shown with --tree all" in text
    assert "… 441 more spans: shown with --tree all or --report" in text
    assert "trace second" in text
    assert [each.count("step_") for each in (text, every, none)] == [59, 500, 0]
    assert [each.count("TOOL") for each in (text, every, none)] == [59 + 9, 500 + 13, 0]


@pytest.mark.parametrize(
    "command",
    [
        ("evals", "gate", "run.json", "--baseline", "run.json"),
        ("evals", "compare", "base.json", "run.json"),
        ("evals", "comment", "run.json"),
        ("evals", "agreement", "labelled.jsonl", "--scorer", "scorers:low", "--scorer", "scorers:unknown"),
        ("evals", "run", "labelled.jsonl", "--task", "builtins:str", "--scorer", "scorers:low"),
    ],
    ids=" ".join,
)
def test_a_terminal_obeys_no_report_and_no_judge(
    run_command: RunCommand, tmp_path: Path, command: tuple[str, ...]
) -> None:
    """Escape sequences in ids, names, reasons, notes and addresses of traces do not reach the terminal."""
    (tmp_path / "scorers.py").write_text(
        "from pandaprobe_otel.evals import Judgement\n"
        f"def low(run): return Judgement.scored(0.2, {HOSTILE!r})\n"
        f"def unknown(run): return Judgement.error({HOSTILE!r})\n"
    )
    labelled = [{"id": f"{HOSTILE}{label}", "input": "q", "output": "a", "label": label} for label in ("yes", "no")]
    (tmp_path / "labelled.jsonl").write_text("\n".join(map(json.dumps, labelled)))
    text = {"input": HOSTILE, "output": HOSTILE, "error": HOSTILE, "traces": (TRACE,)}
    bad = case(f"{HOSTILE}c[bold]", 0.2, reason=HOSTILE, **text)
    report(bad, trace_url=f"https://example.com/{HOSTILE}{{trace_id}}", notes=(HOSTILE,)).save(tmp_path / "run.json")
    report(case("c", 0.9)).save(tmp_path / "base.json")
    done = run_command(*command)
    assert done.returncode in (0, 1, 6), done.stderr
    assert "owned" in done.stdout
    assert "\x1b" not in done.stdout + done.stderr


def test_json_is_read_back_as_it_was(tmp_path: Path) -> None:
    """Saving and loading a report preserves everything; other files and names are refused."""
    MIXED.save(tmp_path / "new" / "r.json")
    assert Report.load(tmp_path / "new" / "r.json") == MIXED
    (tmp_path / "x.json").write_text("[]")
    done = run_here("evals", "compare", *[str(tmp_path / "x.json")] * 2, environment=clean_environment(tmp_path))
    assert (done.returncode, "is not a report" in done.stderr) == (4, True)
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
    """The page is well-formed, loads nothing, has no script, and shows contents as text."""
    replace(MIXED, trace_url=None).against(BEFORE).save(tmp_path / "r.html")
    source = (tmp_path / "r.html").read_text(encoding="utf-8")
    page = Page()
    page.feed(source)
    assert page.open == []
    assert not {"img", "link", "iframe", "b"} & set(page.tags)
    assert "script" not in page.tags
    assert "default-src 'none'" in source
    assert all(link.startswith("#case-") for link in page.links)
    assert "url(" not in source
    assert "@import" not in source
    for shown in (
        "look<up>(number='A-17')",
        "no <b>order</b>",
        "<img src=x>",
        "m 0.20 < 0.50: @anna",
        "ValueError",
        "a note",
        "only: tone",
    ):
        assert shown in page.text
    assert "<table>" in MIXED._repr_html_()


# -- two runs --------------------------------------------------------------------------------------------------------


def test_each_case_is_of_one_kind(tmp_path: Path) -> None:
    """Cases are lost, won, different in output or spans, or in one run only; ids, times and tokens are not compared."""
    call, again = (
        trace("a", "b", output={"tool_calls": [{"id": name, "function": {"name": "f"}}]}, token_usage=usage)
        for name, usage in (("call_abcdefgh", {"prompt_tokens": 1}), ("call_ijklmnop", {"prompt_tokens": 2}))
    )
    looped = trace("a", "b", "c", "d", "e")
    for span, parent in zip(looped["spans"], (None, "b", "d", "c", "d"), strict=True):
        span["parent_span_id"] = parent  # spans that are their own ancestors
    more = trace("a", "b")
    more["spans"].insert(1, {**more["spans"][0], "span_id": "x", "name": "x", "parent_span_id": "a"})
    more["spans"][2]["output"] = "new"
    before = report(
        case("lost", 0.9),
        case("won", 0.1),
        case("output", 0.9, output="a"),
        case("spans", 0.9, traces=(trace("a", "b"),)),
        case("more", 0.9, traces=(trace("a"),)),
        case("same", 0.9, traces=(call, looped), output="a"),
        case("gone", 0.9),
    )
    after = report(
        case("new", 0.9),
        case("same", 0.8, traces=(again, looped), output="a"),
        case("more", 0.9, traces=(trace("a"), trace("a"))),
        case("spans", 0.9, traces=(more,)),
        case("output", 0.9, output="b"),
        case("won", 0.9),
        case("lost", 0.1),
    )
    before.save(tmp_path / "before.json")
    after.save(tmp_path / "after.json")
    page = tmp_path / "both.html"
    command = ["evals", "compare", *(str(tmp_path / f"{name}.json") for name in ("before", "after"))]
    run_here(*command, "--html", str(page), environment=clean_environment(tmp_path))
    text = page.read_text(encoding="utf-8")
    assert re.findall(r"<summary><span class=\w+>(\w+)</span> (\w+)</summary>", text) == [
        *(("new", "new"), ("same", "same"), ("different", "more"), ("different", "spans"), ("different", "output")),
        *(("won", "won"), ("lost", "lost"), ("gone", "gone")),
    ]
    assert "2 spans of 3 differ" in text
    assert [text.count(mark) for mark in (">now only</span>", "output changed")] == [2, 1]
