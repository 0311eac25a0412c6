"""JSON text of recorded values: bounded reads of large or endless values, and the bounded memory of streams."""

from __future__ import annotations

import itertools
import json
import tracemalloc
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Set
from typing import Any

import pytest
from hypothesis import example, given, settings
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


def test_a_value_that_contains_itself_is_shown_with_a_mark() -> None:
    """A value that contains itself is read once."""
    cyclic: dict[str, Any] = {"name": "loop"}
    cyclic["self"] = cyclic
    assert json.loads(encode(cyclic))["name"] == "loop"


def test_the_fast_encoder_keeps_the_bound() -> None:
    """The fast encoder keeps a small bound."""
    value = {f"k{n}": "x" * 200 for n in range(16)}
    assert len(encode(value, 512)) <= 512


# -- values that are large or endless ----------------------------------------------------------------------------------


class Leaf:
    """An object that counts calls of its `__repr__`."""

    def __repr__(self) -> str:
        looks["leaf"] += 1
        return "leaf"


LEAF = Leaf()


def steps(count: int | None, item: Any) -> Iterator[Any]:
    """Yield the item this many times, endlessly for None, and count each."""
    for number in itertools.count() if count is None else range(count):
        looks["item"] += 1
        yield item if item is not None else number


class Keyed(Mapping[str, Any]):
    """A mapping that makes its items on demand."""

    def __init__(self, count: int | None, item: Any) -> None:
        self.count, self.item = count, item

    def __getitem__(self, key: str) -> Any:
        return self.item

    def __iter__(self) -> Iterator[str]:
        return (f"k{n}" for n in steps(self.count, None))

    def __len__(self) -> int:
        return 1 << 30 if self.count is None else self.count


class Listed(list[Any]):
    """A list that makes its items on demand."""

    def __init__(self, count: int | None, item: Any) -> None:
        super().__init__()
        self.steps, self.item = count, item

    def __iter__(self) -> Iterator[Any]:
        return steps(self.steps, self.item)


class Elements(Set[Any]):
    """A set that makes its items on demand."""

    def __init__(self, count: int | None, item: Any) -> None:
        self.count = count

    def __contains__(self, value: object) -> bool:
        return False

    def __iter__(self) -> Iterator[Any]:
        return steps(self.count, None)

    def __len__(self) -> int:
        return 1 << 30 if self.count is None else self.count


class Model:
    """A model whose dump is a large mapping."""

    def __init__(self, count: int | None, item: Any) -> None:
        self.dump = Keyed(count, item)

    def model_dump(self) -> Any:
        looks["item"] += 1
        return self.dump


def plain_list(count: int | None, item: Any) -> Any:
    """Return a plain list, whose leaves count the reads."""
    return [LEAF if item is None else item] * (150_000 if count is None else count)


def plain_dict(count: int | None, item: Any) -> Any:
    """Return a plain dictionary, whose leaves count the reads."""
    return dict.fromkeys(map(str, range(150_000 if count is None else count)), LEAF if item is None else item)


KINDS: list[Callable[[int | None, Any], Any]] = [Keyed, Listed, Elements, Model, plain_list, plain_dict]
VALUES = st.recursive(
    st.sampled_from([LEAF, 1, "text", "x" * 3_000_000, None]),
    lambda inner: st.builds(
        lambda kind, size, item: kind(size, item),
        st.sampled_from(KINDS),
        st.sampled_from([0, 1, 3, 50, 3000, 30_000, None]),
        inner,
    ),
    max_leaves=4,
)


@given(VALUES)
@settings(max_examples=40)
def test_any_container_costs_a_bounded_number_of_looks(value: Any) -> None:
    """Any container is encoded with a bounded number of reads, as valid JSON within the size limit."""
    looks.clear()
    text = encode(value)
    assert looks.total() <= 3 * MAX_LOOKS
    assert len(text.encode()) <= FIELD
    json.loads(text)


@pytest.mark.parametrize("kind", KINDS)
def test_unread_items_have_a_marker(kind: Callable[[int | None, Any], Any]) -> None:
    """A marker replaces the items that were not read, and the values after them are kept."""
    looks.clear()
    text = encode({"before": 1, "large": kind(None, None), "after": {"a": [1]}})
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
    with start_trace("t", metadata=Keyed(None, 1), tags=Listed(None, "tag")) as trace:
        trace.set_metadata(Keyed(None, 2))
        with trace.span("s", metadata=Keyed(None, 1)) as span:
            span.set_metadata(Keyed(None, 2))
            span.set_model_parameters(Keyed(None, 3))
            span.set_input(Keyed(None, 3))

    chain(lambda value: value)(Keyed(None, 3))
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
    assert output(recorder, [1, "a", LEAF], reduce=lambda items: {"same": items == [1, "a", LEAF]}) == {"same": True}
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
