"""JSON text of inputs and outputs, and the bounded memory of streams."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pandaprobe_otel.capture.content import MAX_ITEMS, MAX_TEXT_CHARS, StreamContent, encode, is_result
from pandaprobe_otel.mapping.clean import encode as careful_encode

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(max_size=4),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=4) | st.integers(), inner, max_size=5),
    max_leaves=12,
)


@given(VALUES)
def test_quick_way_gives_what_the_careful_way_gives(value: Any) -> None:
    """The fast encoder of simple values gives the same text as the full one."""
    assert json.loads(encode(value)) == json.loads(careful_encode(value))


@pytest.mark.parametrize(
    "value", [{"a": "\x00"}, {"a": "\ud800"}, {"a\x00": 1}, {"a": 1 << 70}, {1: 2}, {"a": float("nan")}, [["\x00"]]]
)
def test_values_that_the_server_would_lose_take_the_careful_way(value: Any) -> None:
    """NUL, lone surrogates and huge numbers, which the server would lose, are left to the full encoder."""
    text = encode(value)
    assert text == careful_encode(value)
    assert "\\u0000" not in text


def test_short_cut_keeps_the_bound() -> None:
    """The fast encoder keeps a small bound."""
    value = {f"k{n}": "x" * 200 for n in range(16)}
    assert len(encode(value, 512)) <= 512


def test_results() -> None:
    """None and unread iterators and coroutines count as no result; empty values count as results."""

    async def coroutine() -> None:
        """Do nothing."""

    started = coroutine()
    assert not is_result(None)
    assert not is_result(iter([1]))
    assert not is_result(started)
    started.close()
    assert all(is_result(value) for value in ("", 0, [], {}, object(), "text"))


def text_of(items: list[Any], **options: Any) -> Any:
    """Return the decoded content of a stream of these items."""
    content = StreamContent(**options)
    for item in items:
        content.add(item)
    return json.loads(content.text())


def test_text_is_joined_and_other_items_are_listed() -> None:
    """Text items are joined; a single item of another type makes a list of all items."""
    assert text_of(["a", "b"]) == "ab"
    assert text_of([1, {"a": 2}]) == [1, {"a": 2}]
    assert text_of(["a", "b", 3, "c"]) == ["a", "b", 3, "c"]
    assert text_of([""]) == ""


def test_text_over_the_bound_is_cut_and_counted() -> None:
    """The beginning of a long text is kept, and its end counts the missing characters."""
    found = text_of(["x" * (MAX_TEXT_CHARS - 1), "yz", "w" * 10])
    assert found.startswith("x" * (MAX_TEXT_CHARS - 1) + "y…")
    assert found.endswith("[cut 11 more characters]")


def test_items_over_the_bound_are_counted() -> None:
    """A list over the bound ends with the number of missing items."""
    found = text_of([{"n": "v" * 1000}] * 1000)
    assert 100 < len(found) < 250
    assert found[-1] == f"…[cut: {1000 - (len(found) - 1)} more items]"


def test_one_huge_item_is_cut() -> None:
    """A single item larger than the bound is cut inside and not dropped."""
    (found,) = text_of([{"text": "x" * 3_000_000}])
    assert found["text"].startswith("xxx")
    assert len(found["text"]) < 300_000


def test_reduce_gets_the_items_themselves() -> None:
    """`reduce` receives the objects themselves, in order, up to the bound."""
    seen: list[Any] = []
    text_of([1, "a", None], reduce=lambda items: seen.extend(items))
    assert seen == [1, "a", None]
    assert text_of(list(range(MAX_ITEMS + 5)), reduce=len) == MAX_ITEMS
    assert text_of(["x" * 1000] * 1000, reduce=lambda items: sum(map(len, items))) == MAX_TEXT_CHARS


def test_memory_of_an_endless_stream_is_bounded() -> None:
    """A stream of 200,000 tiny items takes less than 4 MB."""
    content = StreamContent()
    tracemalloc.start()
    try:
        for n in range(200_000):
            content.add(n)
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size < 4_000_000
    assert content.text().endswith('more items]"]')
