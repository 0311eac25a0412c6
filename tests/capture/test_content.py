"""JSON text of recorded values: bounded reads of large or endless values, and the bounded memory of streams."""

from __future__ import annotations

import itertools
import json
import tracemalloc
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pandaprobe_otel import chain, start_trace
from pandaprobe_otel.capture.content import MAX_ITEMS, MAX_TEXT_CHARS, encode
from pandaprobe_otel.mapping.clean import MAX_LOOKS
from pandaprobe_otel.mapping.clean import encode as careful_encode
from span_recorder import SpanRecorder

FIELD = 262_144
looks: Counter[str] = Counter()


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(max_size=4),
        lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=4) | st.integers(), inner),
        max_leaves=12,
    )
)
@example({"a": "\x00", "b\x00": ["\ud800"], "c": 1 << 70, 1: float("nan")})
def test_the_fast_encoder_writes_the_values_of_the_full_one(value: Any) -> None:
    """Simple values have the same text; NUL, lone surrogates and huge numbers are left to the full encoder."""
    text = encode(value)
    assert json.loads(text) == json.loads(careful_encode(value))
    assert "\\u0000" not in text.replace("\\\\", "")


def test_the_fast_encoder_keeps_the_bound() -> None:
    """The fast encoder keeps a small bound."""
    value = {f"k{n}": "x" * 200 for n in range(16)}
    assert len(encode(value, 512)) <= 512


# -- values that are large or endless ----------------------------------------------------------------------------------


def steps(form: str) -> Iterator[str]:
    """Yield texts without an end, and count them."""
    for number in itertools.count():
        looks["item"] += 1
        yield form.format(number)


class Keyed(Mapping[str, Any]):
    """A mapping that makes its keys on demand."""

    def __getitem__(self, key: str) -> Any:
        return 1

    def __iter__(self) -> Iterator[str]:
        return steps("k{}")

    def __len__(self) -> int:
        return 1 << 30


class Listed(list[Any]):
    """A list that makes its items on demand."""

    def __iter__(self) -> Iterator[Any]:
        return steps("tag")


@pytest.mark.parametrize("kind", [Keyed, Listed])
def test_unread_items_have_a_marker(kind: Callable[[], Any]) -> None:
    """A marker replaces the items that were not read, and the values after them are kept."""
    looks.clear()
    text = encode({"before": 1, "large": kind(), "after": {"a": [1]}})
    assert looks.total() <= 3 * MAX_LOOKS
    assert "[cut" in text
    assert text.startswith('{"before":1,"large":')
    assert text.endswith(',"after":{"a":[1]}}')


@pytest.mark.parametrize("make", [list, deque])
def test_a_long_list_keeps_both_ends(make: Callable[[range], Any]) -> None:
    """The first and the last item of a long list are kept, with a marker for the others."""
    listed = json.loads(encode(make(range(1_000_000))))
    kept = sum(isinstance(item, int) for item in listed)
    assert listed[0] == 0
    assert make is deque or (listed[-1], f"…[cut {1_000_000 - kept} of 1000000 items]" in listed) == (999_999, True)


def test_markers_add_up_when_a_list_is_cut_twice() -> None:
    """A list that exceeds the number of reads and then the bytes is cut twice, with one marker for the sum."""
    listed = json.loads(encode(["x" * 100] * 1_000_000))
    kept = sum(item.startswith("x") for item in listed)
    assert f"…[cut {1_000_000 - kept} of 1000000 items]" in listed
    keyed = json.loads(encode({f"key number {n}": "x" * 100 for n in range(100_000)}))
    assert keyed["…"] == f"[cut {100_000 - (len(keyed) - 1)} of 100000 keys]"


@pytest.mark.parametrize("letter", ["x", "é"])
def test_large_texts_are_cut_to_the_same_length_before_they_are_copied(letter: str) -> None:
    """All large texts of a list are cut to the same length, the first as well as the last."""
    texts = json.loads(encode([letter * 1_000_000] * 100))
    assert {len(text) for text in texts} == {len(texts[0])}
    assert len(texts) == 100


def test_endless_metadata_and_tags_end(recorder: SpanRecorder) -> None:
    """Endless metadata and tags are read only in part, like all values that the app passes."""
    with start_trace("t", metadata=Keyed(), tags=Listed()) as trace:
        trace.set_metadata(Keyed())
        with trace.span("s", metadata=Keyed()) as span:
            span.set_metadata(Keyed())
            span.set_model_parameters(Keyed())
            span.set_input(Keyed())

    chain(lambda value: value)(Keyed())
    assert recorder.names == ["s", "t", "<lambda>"]


# -- streams -----------------------------------------------------------------------------------------------------------


def output(recorder: SpanRecorder, items: Any, **options: Any) -> Any:
    """Return the recorded output of a generator of these items."""

    @chain(**options)
    def stream() -> Iterator[Any]:
        yield from items

    recorder.clear()
    for _ in stream():
        pass
    return recorder.output()


def test_text_is_joined_and_other_items_are_listed(recorder: SpanRecorder) -> None:
    """Text items are joined; a single item of another type makes a list of all items."""
    for items, expected in (
        (["a", "b"], "ab"),
        ([""], ""),
        ([1, {"a": 2}], [1, {"a": 2}]),
        (["a", "b", 3, "c"], ["a", "b", 3, "c"]),
    ):
        assert output(recorder, items) == expected


def test_items_are_recorded_as_they_were_when_yielded(recorder: SpanRecorder) -> None:
    """A later change of an item is not recorded."""
    item = {"n": 1}
    assert output(recorder, (item.update(n=n) or item for n in (1, 2))) == [{"n": 1}, {"n": 2}]


def test_a_stream_over_the_bound_is_cut_and_counted(recorder: SpanRecorder) -> None:
    """A long text, a long list and one huge item keep their beginning, with the size of the missing part."""
    text = output(recorder, ["x" * (MAX_TEXT_CHARS - 1), "yz", "w" * 10])
    assert text.startswith("x" * (MAX_TEXT_CHARS - 1) + "y…")
    assert text.endswith("[cut 11 more characters]")
    listed = output(recorder, [{"n": "v" * 1000}] * 1000)
    assert 100 < len(listed) < 250
    assert listed[-1] == f"…[cut: {1000 - (len(listed) - 1)} more items]"
    (huge,) = output(recorder, [{"text": "x" * 3_000_000}])
    assert huge["text"].startswith("xxx")
    assert len(huge["text"]) < 300_000


def test_reduce_gets_the_items_themselves(recorder: SpanRecorder) -> None:
    """`reduce` receives the objects themselves, in order, up to the bound; its result is the output."""
    assert output(recorder, [1, "a", looks], reduce=lambda items: {"same": items == [1, "a", looks]}) == {"same": True}
    assert output(recorder, range(MAX_ITEMS + 5), reduce=len) == MAX_ITEMS
    assert output(recorder, ["x" * 1000] * 1000, reduce=lambda items: sum(map(len, items))) == MAX_TEXT_CHARS


def test_memory_of_an_endless_stream_is_bounded(recorder: SpanRecorder) -> None:
    """A stream of 200,000 tiny items takes less than 4 MB."""
    tracemalloc.start()
    try:
        listed = output(recorder, range(200_000))
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 4_000_000
    assert "more items]" in listed[-1]
