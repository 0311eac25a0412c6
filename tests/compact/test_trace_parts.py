"""Parts of a trace, two traces side by side, and the turns of a session."""

from __future__ import annotations

import re
from typing import Any

import pytest

from pandaprobe_otel.compact.fences import Fence
from pandaprobe_otel.compact.numbered_trace import NumberedTrace
from pandaprobe_otel.compact.overview import overview
from pandaprobe_otel.compact.suspects import suspects
from pandaprobe_otel.compact.tokens import tokens_in
from pandaprobe_otel.compact.trace_comparison import compared
from pandaprobe_otel.compact.trace_parts import NoPart, StaleCursor, part_of
from pandaprobe_otel.compact.turns import turns_text
from planted_traces import trace_of

FENCE = Fence("7f3a91c2")


def _inside(text: str) -> str:
    return text.partition(">>\n")[2].rpartition("\n<<")[0]


def test_a_long_value_is_read_to_its_end() -> None:
    """Each part of a long value names the next part, and together the parts are the value."""
    long = "".join(f"line {number} of the document\n" for number in range(600))
    trace = trace_of(3, failing={2})
    trace["spans"][2]["input"] = long
    assert "⟨#3.input⟩" in overview(trace, 800, FENCE).text

    part: str | None = "#3.input"
    read = ""
    while part is not None:
        made = part_of(trace, part, 1500, FENCE)
        assert tokens_in(made.text) <= 1500
        read, part = read + _inside(made.text), made.next

    assert read == long


def test_the_whole_tree_is_read_by_its_cursors() -> None:
    """The cursors lead through all spans in order, each once; after a change of the trace the cursor is stale."""
    trace = trace_of(120)
    cursor, numbers = overview(trace, 800, FENCE).next, list[int]()
    while cursor is not None:
        made = part_of(trace, "tree", 1500, FENCE, cursor=cursor)
        assert tokens_in(made.text) <= 1500
        numbers += [int(found) for found in re.findall(r"^ *#(\d+) ", _inside(made.text), re.MULTILINE)]
        cursor = made.next

    assert numbers == list(range(1, 121))
    with pytest.raises(StaleCursor, match="leave it out"):
        part_of(trace_of(121), "tree", 1500, FENCE, cursor="20.120")


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ("#99", "#1 to #4"),
        ("#2.inputs", "input, output"),
        ("output[99999:]", "characters"),
        ("x", "no part 'x'"),
    ],
)
def test_an_invalid_part_is_refused_with_the_valid_ones(part: str, words: str) -> None:
    """The error for an invalid part names the valid ones."""
    with pytest.raises(NoPart, match=re.escape(words)):
        part_of(trace_of(4), part, 1500, FENCE)


def test_two_traces_part_where_they_first_differ() -> None:
    """A comparison has the first differing span, and both values around the difference."""
    a, b = trace_of(40), trace_of(40)
    b["spans"][30]["input"] = {"at": 30, "text": a["spans"][30]["input"]["text"].replace("yesterday", "today")}
    made = compared(a, b, 1500, FENCE)

    assert tokens_in(made.text) <= 1500
    assert made.differing == 1
    assert made.first_difference == (a["spans"][30]["kind"], "step 3")
    assert 'yesterday"' in made.text
    assert 'today"' in made.text
    assert compared(a, a, 1500, FENCE).first_difference is None


def test_a_comparison_of_hundreds_of_differences_fits() -> None:
    """A comparison of hundreds of differences fits its budget, and counts those that are not shown."""
    made = compared(trace_of(200), trace_of(220, text="other 👩‍👧", seed=1), 1500, FENCE)

    assert tokens_in(made.text) <= 1500
    assert re.search(r"and \d+ more that differ", made.text)


def test_the_turns_of_a_session() -> None:
    """The turns of a session have failed spans, and a cursor to the turns that did not fit."""
    traces = [trace_of(3, failing={2} if at == 1 else (), seed=at) for at in range(40)]
    first = turns_text("s-1", traces, 1000, FENCE)

    assert tokens_in(first.text) <= 1000
    assert first.failed == (traces[1]["trace_id"],)
    assert "failed: #3" in first.text
    assert 0 < first.shown < 40
    rest = turns_text("s-1", traces, 20_000, FENCE, cursor=first.next)
    assert (first.shown + rest.shown, rest.next) == (40, None)
    with pytest.raises(StaleCursor):
        turns_text("s-1", traces[:-1], 1000, FENCE, cursor=first.next)


def _signs(trace: dict[str, Any], **scores: object) -> str:
    found = suspects(NumberedTrace(trace), [{"name": name, "value": value} for name, value in scores.items()])
    return "\n".join(f"{suspect.place}: {suspect.sign}" for suspect in found)


def test_signs_of_trouble_in_a_trace_without_errors() -> None:
    """Loops, missing results, truncations, refusals, cancellations and low scores are suspects without any error."""
    trace = trace_of(12, chain=True)
    for span in trace["spans"][1:4]:
        span |= {"kind": "TOOL", "name": "look_up", "input": {"number": "A-17"}}
    trace["spans"][5] |= {"kind": "TOOL", "name": "refund", "output": None}
    trace["spans"][7] |= {"kind": "LLM", "metadata": {"finish_reasons": ["length"]}}
    trace["spans"][8] |= {"kind": "LLM", "metadata": {"finish_reasons": ["content_filter"]}}
    trace["spans"][9] |= {"metadata": {"outcome": "cancelled"}}
    signs = _signs(trace, task_completion="0.2", relevance="0.9")

    for sign in ("look_up: loop", "#6 tool refund: a call without a result", "truncated", "refused", "cancelled"):
        assert sign in signs, signs
    assert "task_completion is low" in signs
    assert "relevance" not in signs
    assert "SUSPECT" in overview(trace, 2000, FENCE).text
    assert "SUSPECT" not in overview(trace_of(4), 2000, FENCE).text
