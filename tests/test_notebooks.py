"""HTML representations for notebooks, and their text equivalents and trees for terminals."""

from __future__ import annotations

from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any, Final, Literal
from uuid import UUID

import pytest

from made_reports import case, report, score
from pandaprobe_otel.api import RunResult
from pandaprobe_otel.api.models import EvalRun, Page, Session, Trace, TraceListItem, TraceScore
from pandaprobe_otel.evals import Report
from pandaprobe_otel.traces.records import TraceRecord

HOSTILE: Final = '</pre></details><script>alert(1)</script><img src=x onerror="alert(1)">\x1b]0;title\x07\ud800'
NOW: Final = "2026-01-02T03:04:05+00:00"
MOMENTS: Final = {"started_at": NOW, "ended_at": "2026-01-02T03:04:06.500000+00:00"}
SOME_ID: Final = UUID(int=1)
ALLOWED: Final = frozenset({
    "style", "div", "h3", "p", "span", "table", "thead", "tbody", "tr", "th", "td", "details", "summary", "pre",
})  # fmt: skip
VOID: Final = frozenset({"img", "br", "input", "link", "meta"})


class Output(HTMLParser):
    """A parser that collects an output's tags, attributes and text, and fails on tags that do not match."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.words = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data


def span_body(number: int, content: str, **fields: Any) -> dict[str, Any]:
    """Return a span with this text in every field; the first is the parent of all others."""
    return {
        **dict.fromkeys(("name", "error", "output", "model"), content),
        "span_id": str(UUID(int=number)),
        "trace_id": str(SOME_ID),
        "parent_span_id": None if number == 1 else str(UUID(int=1)),
        "kind": "TOOL",
        "status": "ERROR",
        "input": {content: content},
        "metadata": {content: content},
        **MOMENTS,
        **fields,
    }


def trace_body(content: str, spans: int = 2) -> dict[str, Any]:
    """Return a trace with this text in every field."""
    return {
        **dict.fromkeys(("name", "input", "output", "session_id", "user_id", "release", "environment"), content),
        **dict.fromkeys(("trace_id", "project_id"), str(SOME_ID)),
        "status": "ERROR",
        "metadata": {content: content},
        "tags": [content],
        **MOMENTS,
        "spans": [span_body(number + 1, content) for number in range(spans)],
    }


def session_of(content: str) -> Session:
    """Return a session with one trace."""
    about = {"session_id": content, "user_id": content, "trace_count": 1, "first_trace_at": NOW, "has_error": True}
    return Session.model_validate({**about, "traces": [trace_body(content)]})


def result_of(content: str, **fields: Any) -> RunResult:
    """Return the result of an evaluation run with one score; three scores are missing."""
    ids, moments = (
        dict.fromkeys(("id", "project_id", "trace_id"), SOME_ID),
        dict.fromkeys(("created_at", "updated_at"), NOW),
    )
    run = {
        **ids, **moments, "name": content, "status": "COMPLETED", "metric_names": ["tone", content], "total_targets": 2,
        "evaluated_count": 2, "failed_count": 1, "target_type": "TRACE", "filters": {"trace_ids": [str(SOME_ID)]},
    }  # fmt: skip
    score = {
        **ids, **moments, "name": "tone", "value": "0.9", "status": "SUCCESS", "reason": content,
        "source": "AUTOMATED", "data_type": "NUMERIC", **fields,
    }  # fmt: skip
    return RunResult(run=EvalRun.model_validate(run), scores=(TraceScore.model_validate(score),))


def report_of(content: str) -> Report:
    """Return a report with a case that failed and one that passed."""
    failed = case(content, input=content, output=content, expected=content, results=(score(0.2, content),))
    passed = case("good", input=content, results=(score(0.9, content),))
    return report(failed, passed, name=content, created_at=NOW, notes=(content,))


def page_of(content: str) -> Page[TraceListItem]:
    """Return a page with one of two traces."""
    item = TraceListItem.model_validate({**trace_body(content), "spans": None, "span_count": 2})
    return Page[TraceListItem](items=[item], total=2, limit=1, offset=0)


EVERY: Final[dict[str, Callable[[str], Any]]] = {
    "trace": lambda content: Trace.model_validate(trace_body(content)),
    "session": session_of,
    "page": page_of,
    "result": result_of,
    "report": report_of,
    "comparison": lambda content: report_of(content).compare(report_of(content)),
    "record": lambda content: TraceRecord(trace_body(content)),
}


@pytest.mark.parametrize("name", EVERY)
def test_an_output_is_text_and_no_markup_of_its_content(name: str) -> None:
    """Hostile content adds no tag, no event handler and nothing to load, and the output can be encoded as UTF-8."""
    html: str = EVERY[name](HOSTILE)._repr_html_()
    output = Output(html)

    assert set(output.tags) <= ALLOWED
    assert output.attributes <= {"class", "style", "scope", "open", "tabindex"}
    assert output.open == []
    assert "<script>alert(1)</script>" in output.words
    assert html.encode()
    assert "url(" not in html
    assert "@import" not in html


@pytest.mark.parametrize("name", [name for name in EVERY if name != "report"])
def test_a_terminal_shows_the_same_as_plain_text(name: str) -> None:
    """`print` shows the same content as plain text without tags."""
    shown = str(EVERY[name]("refund"))

    assert "refund" in shown or name == "result"
    assert "<" not in shown


def test_the_text_of_a_trace_is_its_tree() -> None:
    """The text has one line per span, below its parent; `repr` stays short however many spans there are."""
    body = {**trace_body("refund"), "spans": [span_body(1, "a", kind="AGENT", status="OK"), span_body(2, HOSTILE)]}
    trace = Trace.model_validate(body)
    first, agent, tool = str(trace).splitlines()

    assert first == f"trace {SOME_ID}  refund  ERROR  1.50 s  2 spans"
    assert agent == "  AGENT a  1.50 s  a"
    assert tool.startswith("    TOOL  </pre></details><script>")
    assert "\x1b" not in tool
    assert repr(trace) == f"<Trace {SOME_ID}  refund  ERROR  1.50 s  2 spans>"
    assert repr(session_of("s")) == "<Session 's': 1 traces>"


def test_unknown_tokens_and_cost_are_not_shown_as_zero() -> None:
    """Tokens and cost are sums over the spans that state them, and are left out if none does."""
    counted = span_body(2, "m", token_usage={"prompt_tokens": 1200, "completion_tokens": 34}, cost={"total": 0.0123})
    body = {**trace_body("refund"), "spans": [span_body(1, "a"), counted]}

    assert "tokens" not in str(EVERY["trace"]("refund"))
    assert "1,234 tokens  $0.0123" in str(Trace.model_validate(body)).splitlines()[0]


def test_a_score_without_evidence_is_never_green() -> None:
    """A score without evidence is marked in HTML and in text; a score without a threshold has no colour."""
    vacuous = result_of("No tool calls found in trace.", name="tool_correctness", value="1.0")
    known = result_of("fine")

    assert "class=unsure>1.0 (nothing to judge)" in vacuous._repr_html_()
    assert "1.0 (nothing to judge)  No tool calls found" in str(vacuous)
    assert "class=good" not in known._repr_html_() + vacuous._repr_html_()
    assert str(known).startswith("evaluation COMPLETED: 1 scores, 3 missing")


def test_a_large_trace_makes_a_bounded_output_that_says_what_it_leaves_out() -> None:
    """The size of the HTML is limited, since a notebook stores it in its file."""
    html: str = Trace.model_validate(trace_body("x" * 10_000, spans=500))._repr_html_()

    assert len(html) < 1_200_000
    assert "… 200 more spans" in html
    assert "more characters" in html


@pytest.mark.outer
@pytest.mark.exhaustive
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 390])
def test_outputs_are_accessible_in_a_browser(theme: Literal["light", "dark"], width: int) -> None:
    """Axe reports no fault in any output, in both themes, at desktop and phone widths; no script runs."""
    from chromium import chromium
    from watched_tabs import found_by_axe

    outputs = "".join(make(HOSTILE)._repr_html_() for make in EVERY.values())
    shell = (
        '<!doctype html><html lang="en"><title>Notebook</title><style>:root{color-scheme:light dark}'
        "body{color:light-dark(#212121,#e0e0e0);background:light-dark(#fff,#111)}</style>"
        f"<main><h1>Outputs</h1><h2>of cells</h2>{outputs}</main></html>"
    )
    with chromium() as browser:
        page = browser.new_page(color_scheme=theme, viewport={"width": width, "height": 900})
        dialogs: list[str] = []
        page.on("dialog", lambda dialog: dialogs.append(dialog.message))
        page.set_content(shell)
        page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
        found = found_by_axe(page)

    assert found == []
    assert dialogs == []


def span(name: str, parent: str | None, second: int, **fields: Any) -> dict[str, Any]:
    """Return a span of half a second whose id is its name."""
    moments = {"started_at": f"2026-01-01T00:00:{second:02}+00:00", "ended_at": f"2026-01-01T00:00:{second:02}.5+00:00"}
    return {
        "span_id": name,
        "parent_span_id": parent,
        "name": name,
        "kind": "OTHER",
        "status": "OK",
        **moments,
        **fields,
    }


def lines(*spans: dict[str, Any], **fields: Any) -> list[str]:
    """Return the printed tree of a trace with these spans."""
    return str(TraceRecord({"trace_id": "t-1", "status": "COMPLETED", "spans": list(spans), **fields})).splitlines()


def test_a_tree_shows_kind_name_time_tokens_errors_and_outcomes() -> None:
    """Each span has one line under its parent, in the order of their starts; "timed out" and "cancelled" are shown."""
    tool = span("find", "root", 2, kind="TOOL", status="ERROR", error="LookupError: no [bold]order[/bold]")
    model = span("chat", "root", 1, kind="LLM", model="m-1", token_usage={"prompt_tokens": 7, "completion_tokens": 3})
    cut = span("chat", "root", 3, kind="LLM", status="UNSET", metadata={"outcome": "timed_out"})
    late = span("later", "root", 4, ended_at="2026-01-01T00:00:05.250+00:00")
    running = span("running", "root", 5, ended_at=None)

    assert lines(
        tool, model, cut, late, running, span("root", None, 0, kind="AGENT"), metadata={"outcome": "cancelled"}
    ) == [
        "trace t-1    COMPLETED  cancelled  running  6 spans  10 tokens",
        "  AGENT root  500 ms",
        "    LLM   chat  500 ms  7 → 3 tokens  m-1",
        "    TOOL  find()  ERROR LookupError: no [bold]order[/bold]  500 ms",
        "    LLM   chat  500 ms  TIMED_OUT",
        "    OTHER later  1.25 s",
        "    OTHER running  running",
    ]


def test_a_span_without_its_parent_or_that_is_its_own_ancestor_is_shown_once() -> None:
    """A parent may be in another process, and the server accepts cycles of parents."""
    circles = (span("loop", "loop", 1), span("here", "there", 2), span("there", "here", 3))
    shown = lines(span("root", None, 0), *circles, span("orphan", "elsewhere", 0))
    assert sorted(line.split()[1] for line in shown[1:]) == ["here", "loop", "orphan", "root", "there"]
