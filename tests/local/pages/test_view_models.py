"""Values that the pages compute before rendering."""

from __future__ import annotations

from typing import Any

import pytest

from pandaprobe_otel.local.pages.charts import HEIGHT, WIDTH, histogram_of, trend_of
from pandaprobe_otel.local.pages.conversation import (
    Message,
    as_messages,
    messages_in,
    preview,
    rest_of_messages,
    turns_of,
)
from pandaprobe_otel.local.pages.diff import diff_payloads, diff_trees
from pandaprobe_otel.local.pages.json_view import MAX_SHOWN, json_markup
from pandaprobe_otel.local.pages.rendering import duration, money, ticks
from pandaprobe_otel.local.pages.tools import tool_uses
from pandaprobe_otel.local.pages.tree import build_tree


def _span(name: str, begin: float, end: float | None, parent: str | None = None, **fields: Any) -> dict[str, Any]:
    return {
        "span_id": name,
        "parent_span_id": parent,
        "name": name,
        "kind": "OTHER",
        "status": "OK",
        "error": None,
        "model": None,
        "input": None,
        "output": None,
        "token_usage": None,
        "metadata": {},
        "model_parameters": None,
        "started_at": f"2026-01-01T00:00:{begin:09.6f}+00:00",
        "ended_at": None if end is None else f"2026-01-01T00:{end // 60:02.0f}:{end % 60:09.6f}+00:00",
        "latency_ms": None if end is None else (end - begin) * 1000,
        "time_to_first_token_ms": None,
        **fields,
    }


def test_the_critical_path_is_what_the_trace_waited_for() -> None:
    """Of two parallel steps only the longer one is critical; the steps before and after both are critical too."""
    spans = [
        _span("root", 0, 10),
        _span("first", 0, 2, "root"),
        _span("short", 2, 4, "root"),
        _span("long", 2, 9, "root"),
        _span("inner", 3, 8, "long"),
        _span("last", 9, 10, "root"),
    ]
    tree = build_tree(spans)
    assert [node.id for node in tree.rows if node.critical] == ["root", "first", "long", "inner", "last"]
    assert {node.id: round(node.self_ms) for node in tree.rows}["long"] == 2000
    assert round(tree.length_ms) == 10_000


def test_orphans_and_circles_are_roots() -> None:
    """A span without its parent, a span that is its own parent, and a cycle of two are each shown once, as roots."""
    spans = [
        _span("lost", 0, 1, "nowhere"),
        _span("self", 0, 1, "self"),
        _span("a", 0, 1, "b"),
        _span("b", 0, 1, "a"),
        _span("open", 0, None),
    ]
    tree = build_tree(spans)
    assert sorted(node.id for node in tree.rows) == ["a", "b", "lost", "open", "self"]
    assert {node.id: node.orphan for node in tree.roots}["lost"]


def test_a_deep_chain_is_no_recursion() -> None:
    """A chain of five thousand spans, each the child of the one before, is walked without recursion."""
    spans = [_span(f"s{n}", 0, 1, f"s{n - 1}" if n else None) for n in range(5000)]
    tree = build_tree(spans)
    assert tree.rows[-1].depth == 4999
    assert len(tree.ancestors(tree.rows[-1])) == 4999


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        ({"messages": [{"role": "user", "content": "hi"}]}, [("user", "hi")]),
        ([{"role": "user", "content": "hi"}], [("user", "hi")]),
        (
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
            [("user", "a\nb")],
        ),
        ({"choices": [{"message": {"role": "assistant", "content": "yes"}}]}, [("assistant", "yes")]),
        ([{"role": "user", "parts": [{"text": "hi"}]}], [("user", "hi")]),
        ({"messages": ["plain"]}, [("user", "plain")]),
        ({"query": "hi"}, []),
        ([1, 2], []),
        ([], []),
        (7, []),
        (None, []),
        ({"messages": [{"role": None, "content": None}]}, [("user", "")]),
    ],
)
def test_messages_in_many_shapes(payload: Any, expected: list[tuple[str, str]]) -> None:
    """Conversations in the usual formats are read; all other values are not messages."""
    assert [(message.role, message.text) for message in messages_in(payload, "user")] == expected


def test_calls_and_other_parts_of_messages() -> None:
    """Tool calls are read in both common formats; pictures and malformed arguments stay as they are."""
    openai = {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": '{"a": 1}'}}]}
    anthropic = {"role": "assistant", "content": [{"type": "tool_use", "name": "g", "input": {"b": 2}}]}
    broken = {"role": "assistant", "tool_calls": [{"function": {"name": "h", "arguments": "{oops"}}, 7]}
    picture = {"type": "image_url", "image_url": {"url": "https://x.test/a.png"}}
    image = {"role": "user", "content": [picture]}
    found = messages_in([openai, anthropic, broken, image], "user")
    calls = [[(call.name, call.arguments) for call in message.calls] for message in found]
    assert calls == [[("f", {"a": 1})], [("g", {"b": 2})], [("h", "{oops"), ("?", None)], []]
    assert found[3].extra == (picture,)


def _llm(name: str, given: list[tuple[str, str]], answer: str) -> dict[str, Any]:
    messages = [{"role": role, "content": text} for role, text in given]
    return _span(name, 0, 1, kind="LLM", input={"messages": messages}, output=answer)


def test_only_what_is_new_is_shown_of_a_thread() -> None:
    """A second call repeats the first one's messages, which are shown once; another agent starts a new thread."""
    spans = [
        _llm("one", [("system", "s"), ("user", "q")], "a"),
        _llm("other", [("system", "s"), ("user", "different")], "x"),
        _llm("two", [("system", "s"), ("user", "q"), ("assistant", "a"), ("tool", "t")], "b"),
    ]
    turns = turns_of(spans)
    shown = [[message.text for message in turn.messages] for turn in turns]
    assert shown == [["s", "q"], ["s", "different"], ["t"]]
    assert [turn.fresh_thread for turn in turns] == [True, True, False]


def test_previews_are_one_line() -> None:
    """A preview is the last message on one line, shortened if it is long."""
    assert preview({"messages": [{"role": "user", "content": "a\n b"}]}) == "a b"
    assert preview({"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f"}}]}]}) == "f()"
    assert preview({"k": [1]}) == '{"k":[1]}'
    assert preview(None) == ""
    assert preview("x" * 500, 10) == "x" * 9 + "…"
    assert as_messages("", "user") == ()
    assert as_messages("hi", "assistant") == (Message(role="assistant", text="hi"),)


def test_tools_that_ran_under_another_kind() -> None:
    """A retriever with a tool's name counts as a call of that tool; failures and times are summed."""
    call = {"function": {"name": "search", "arguments": "{}"}}
    spans = [
        _span(
            "llm",
            0,
            1,
            kind="LLM",
            metadata={"tools": ["search", "spare"]},
            output={"messages": [{"tool_calls": [call]}]},
        ),
        _span("x", 0, 1, kind="RETRIEVER") | {"name": "search"},
        _span("y", 0, 2, kind="TOOL", status="ERROR") | {"name": "search"},
    ]
    uses = {use.name: (use.offered, use.asked, use.ran, use.failed, use.total_ms) for use in tool_uses(spans)}
    assert uses == {"search": (1, 1, 2, 1, 3000.0), "spare": (1, 0, 0, 0, 0.0)}


def test_differences_of_two_trees_and_texts() -> None:
    """Spans are matched by name, kind and depth; in texts, only changed lines are kept and marked."""
    left = build_tree([_span("root", 0, 2), _span("a", 0, 1, "root"), _span("gone", 1, 2, "root")])
    right = build_tree([_span("root", 0, 3), _span("a", 0, 2, "root", output="x")])
    rows = diff_trees(left, right)
    assert [(row.change, list(row.fields)) for row in rows] == [("same", []), ("changed", ["output"]), ("left", [])]
    assert rows[1].slower_by_ms == pytest.approx(1000)
    lines = diff_payloads("\n".join("abcdefghijk"), "\n".join("abcdefghijX"))
    assert [(line.side, line.text) for line in lines[-2:]] == [("left", "k"), ("right", "X")]
    assert any("lines in common" in line.text for line in lines)
    assert diff_payloads(None, None) == []


def _changes(left: list[dict[str, Any]], right: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Return the change of each span, with the span's input."""
    rows = diff_trees(build_tree(left), build_tree(right))
    return [(row.change, str(node.span["input"])) for row in rows if (node := row.left or row.right) is not None]


def test_siblings_that_overlap_are_matched_by_what_they_do() -> None:
    """Parallel siblings are matched by input, because their order is chance; others are matched by order."""
    root = _span("root", 0, 9, input="root")

    def searches(*begun: tuple[str, float, float]) -> list[dict[str, Any]]:
        return [
            root,
            *(_span(f"{what}", begin, end, "root", input=what) | {"name": "search"} for what, begin, end in begun),
        ]

    parallel = searches(("a", 1, 5), ("b", 2, 6), ("c", 3, 7))
    swapped = searches(("c", 1, 5), ("a", 2, 6), ("b", 3, 7))
    one_by_one = searches(("a", 1, 2), ("b", 3, 4))
    turned = searches(("b", 1, 2), ("a", 3, 4))

    assert [change for change, _ in _changes(parallel, swapped)] == ["same"] * 4
    assert [change for change, _ in _changes(one_by_one, turned)] == ["same", "same", "changed"]
    assert diff_trees(build_tree(one_by_one), build_tree(turned))[2].fields == ["order"]
    beside = searches(("b", 1, 3), ("a", 2, 4))
    assert {change for change, _ in _changes(one_by_one, beside)} == {"same"}


def test_a_span_with_another_input_is_the_same_span_changed() -> None:
    """A span with a changed input is matched with its old version, even if a new subtree starts beside it."""
    left = [_span("root", 0, 9, input="q"), _span("s", 1, 2, "root", input="a") | {"name": "search"}]
    right = [
        _span("root", 0, 9, input="q"),
        _span("plan", 0, 1, "root", input="p"),
        _span("step", 0, 1, "plan", input="i"),
        _span("s", 1, 2, "root", input="b") | {"name": "search"},
    ]

    assert _changes(left, right) == [("same", "q"), ("right", "p"), ("right", "i"), ("changed", "a")]
    assert _changes(right, left) == [("same", "q"), ("left", "p"), ("left", "i"), ("changed", "b")]


def test_a_trace_of_any_depth_is_compared() -> None:
    """Traces are compared at depths beyond Python's recursion limit."""
    deep = [_span(str(depth), 0, 1, str(depth - 1) if depth else None) for depth in range(3000)]

    assert {change for change, _ in _changes(deep, deep)} == {"same"}


def test_json_is_escaped_coloured_and_cut() -> None:
    """Markup in keys and values is escaped, and a huge value ends with the number of omitted characters."""
    shown = str(json_markup({"<b>": ["</pre>", 1.5, True, None]}))
    assert "<b>" not in shown
    assert "&lt;/pre&gt;" in shown
    assert '<span class="jn">1.5</span>' in shown
    assert "more characters" in str(json_markup("x" * (MAX_SHOWN + 10)))


@pytest.mark.parametrize("length", [0.0, 0.2, 3.0, 38.0, 950.0, 4200.0, 61_000.0, 200_000.0, 8_000_000.0])
def test_axes_have_a_few_round_marks(length: float) -> None:
    """An axis has at most ten marks, begins at 0 and ends within the length."""
    marks = ticks(length)
    assert len(marks) <= 10
    assert all(0 <= at < 100 for at, _ in marks)
    assert (length == 0) == (marks == [])
    if marks:
        assert marks[0] == (0.0, "0")
        assert len(marks) >= 2


def test_numbers_are_shown_in_the_unit_that_reads_best() -> None:
    """Durations and amounts are shown with a few digits, in a fitting unit."""
    assert [duration(value) for value in (None, 0, 0.25, 12.4, 1234, 61_000, 7_260_000, -1500)] == [
        "–",
        "0",
        "250 µs",
        "12 ms",
        "1.23 s",
        "1 min 01 s",
        "2 h 01 min",
        "-1.50 s",
    ]
    assert [money(value) for value in (0, 0.0054, 0.0000004, 12.5)] == ["$0", "$0.0054", "$0", "$12.50"]


def test_charts_stay_inside_their_frame() -> None:
    """Scores out of range and single points are drawn inside the frame; 1.0 belongs to the last column."""
    buckets = [{"bucket": "2026-01-01T00:00:00+00:00", "avg_score": score, "count": 1} for score in (-1.0, 0.5, 2.0)]
    for part in (buckets, buckets[:1]):
        trend = trend_of(part, 0.5)
        assert trend is not None
        assert all(0 <= point.x <= WIDTH and 0 <= point.y <= HEIGHT for point in trend.points)
    assert trend_of([], 0.5) is None
    bars = histogram_of(
        [{"bucket": 10, "count": 2}, {"bucket": 11, "count": 3}, {"bucket": 1, "count": 1}], 10, lambda low, high: ""
    )
    assert [bar.label for bar in bars] == ["0.0 to 0.1: 1", "0.9 to 1.0: 5"]


def test_fields_that_accompany_messages_are_shown() -> None:
    """Fields that accompany the messages, in a message and in a part are shown, so that the page hides nothing of the
    trace.
    """
    part = {"type": "text", "text": "Blue.", "citations": [{"cited_text": "sky"}]}
    payload = {"messages": [{"role": "assistant", "content": [part], "confidence": 0.9}], "customer_id": "c-1"}
    (message,) = messages_in(payload, "user")
    assert message.text == "Blue."
    assert message.extra == ({"citations": [{"cited_text": "sky"}]}, {"confidence": 0.9})
    assert rest_of_messages(payload) == {"customer_id": "c-1"}
    assert rest_of_messages({"customer_id": "c-1"}) == {}
