"""Token counts: the fast path for input and output tokens agrees with the general path."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pandaprobe_otel.mapping import map_views
from pandaprobe_otel.mapping.usage import token_usage, usage_of_sides
from pandaprobe_otel.mapping.values import MAX_COUNT, count
from views import view

COUNTS = st.integers(-3, 3) | st.integers(MAX_COUNT - 3, MAX_COUNT + 3) | st.integers()


@given(COUNTS, COUNTS)
def test_two_sides_are_what_their_counters_are(prompt: int, completion: int) -> None:
    """Counts too large for the server and values that are not counts are read the same on both paths."""
    counters = {"prompt": count(prompt), "completion": count(completion)}
    told = {name: value for name, value in counters.items() if value is not None}
    assert usage_of_sides(prompt, completion) == token_usage(told, None, "")


@given(st.integers(0, MAX_COUNT), st.integers(0, MAX_COUNT), st.booleans())
def test_no_sum_is_more_than_the_server_can_add(prompt: int, completion: int, has_details: bool) -> None:
    """The sum fits into the server's int4: the output count is reduced, on either path."""
    counts = {"prompt": prompt, "completion": completion} | ({"reasoning": 1} if has_details else {})
    usage = token_usage(counts, None, "")

    assert usage is not None
    assert usage["prompt_tokens"] == prompt
    assert usage["completion_tokens"] == min(completion, MAX_COUNT - prompt)
    assert usage["total_tokens"] == prompt + usage["completion_tokens"] <= MAX_COUNT


@given(COUNTS, COUNTS)
def test_the_order_and_type_of_the_attributes_do_not_matter(prompt: int, completion: int) -> None:
    """Numbers and their text forms, input first and output first, give the same counts."""
    sides = {"gen_ai.usage.input_tokens": prompt, "gen_ai.usage.output_tokens": completion}
    call = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt"}
    told = [
        map_views([view("chat gpt", {**call, **attributes})]).spans[0].get("token_usage")
        for attributes in (sides, dict(reversed(sides.items())), {name: str(value) for name, value in sides.items()})
    ]
    assert told[0] == told[1]
    if min(prompt, completion) >= 0 and max(prompt, completion) < 10**18:  # longer texts are not parsed as counts
        assert told[0] == told[2]
