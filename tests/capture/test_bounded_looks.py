"""Bounds on the reads of a recorded value in the app's thread, however large, deep or endless the value is."""

from __future__ import annotations

import itertools
import json
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Set
from types import FrameType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pandaprobe_otel import agent, start_trace
from pandaprobe_otel.capture.content import encode
from pandaprobe_otel.mapping import clean
from pandaprobe_otel.mapping.clean import MAX_LOOKS
from span_recorder import SpanRecorder
from unshrunk import UNSHRUNK

FIELD = 262_144
looks: Counter[str] = Counter()


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
        self.count, self.item = count, item

    def model_dump(self) -> Any:
        looks["item"] += 1
        return Keyed(self.count, self.item)


def plain_list(count: int | None, item: Any) -> Any:
    """Return a plain list, whose leaves count the reads."""
    return [LEAF if item is None else item] * (count or 0)


def plain_dict(count: int | None, item: Any) -> Any:
    """Return a plain dictionary, whose leaves count the reads."""
    return dict.fromkeys(map(str, range(count or 0)), LEAF if item is None else item)


KINDS: list[Callable[[int | None, Any], Any]] = [Keyed, Listed, Elements, Model, plain_list, plain_dict]
SIZES = st.sampled_from([0, 1, 3, 50, 3000, 30_000, None])
VALUES = st.recursive(
    st.sampled_from([LEAF, 1, "text", "x" * 3_000_000, None]),
    lambda inner: st.builds(lambda kind, size, item: kind(size, item), st.sampled_from(KINDS), SIZES, inner),
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


FEW_LOOKS = 300
Container = Callable[[int, Any], Any]
PLAIN_KINDS: list[Container] = [
    lambda size, item: [item] * size,
    lambda size, item: (item,) * size,
    lambda size, item: dict.fromkeys(map(str, range(size)), item),
]
PLAIN_SHAPES = st.lists(st.tuples(st.sampled_from(PLAIN_KINDS), st.sampled_from([1, 30, 9000])), max_size=8)


def lines_run(value: Any) -> int:
    """Return how many lines of the cleaning run for a value. Plain containers do not tell when they are looked at."""
    lines = 0

    def local(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal lines
        lines += event == "line"
        return local

    def each_call(frame: FrameType, event: str, argument: Any) -> Any:
        return local if frame.f_code.co_filename == clean.__file__ else None

    before = sys.gettrace()
    sys.settrace(each_call)
    try:
        encode(value)
    finally:
        sys.settrace(before)
    return lines


@given(PLAIN_SHAPES)
@settings(max_examples=30, phases=UNSHRUNK)
def test_any_plain_container_costs_a_bounded_number_of_steps(
    shape: list[tuple[Container, int]],
) -> None:
    """Lists in lists, of any length at any depth."""
    value: Any = "text"
    for kind, size in shape:
        value = kind(size, value)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(clean, "MAX_LOOKS", FEW_LOOKS)
        assert lines_run(value) <= 40 * FEW_LOOKS


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [100_000, None], ids=["huge", "endless"])
def test_unread_items_have_a_marker(kind: Callable[[int | None, Any], Any], size: int | None) -> None:
    """A marker replaces the items that were not read."""
    looks.clear()
    text = encode({"before": 1, "large": kind(size or 150_000 if kind in (plain_list, plain_dict) else size, None)})
    assert looks.total() <= 3 * MAX_LOOKS
    assert "[cut" in text
    assert text.startswith('{"before":1,"large":')


def test_values_after_a_huge_one_are_kept() -> None:
    """A huge value does not use up the reads of the values after it."""
    shown = json.loads(encode({"first": [LEAF] * 1_000_000, "second": {"a": [1]}, "third": "text"}))
    assert (shown["second"], shown["third"]) == ({"a": [1]}, "text")


def test_a_long_list_keeps_its_end() -> None:
    """The last item of a long list is kept."""
    shown = json.loads(encode(deque(range(1_000_000))))
    assert len(json.dumps(shown)) < FIELD
    listed = json.loads(encode(list(range(1_000_000))))
    assert (listed[0], listed[-1]) == (0, 999_999)
    kept = sum(isinstance(item, int) for item in listed)
    assert f"…[cut {1_000_000 - kept} of 1000000 items]" in listed


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

    @agent
    def call(value: Any) -> Any:
        return value

    call(Keyed(None, 3))
    assert recorder.names == ["s", "t", "call"]
