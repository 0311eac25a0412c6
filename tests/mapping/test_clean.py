"""Cleaning and encoding: any value becomes JSON that the server can store, and text of bounded size."""

from __future__ import annotations

import datetime
import hashlib
import json
import math
import sys
import threading
import uuid
from collections import OrderedDict, deque
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum, IntEnum
from fractions import Fraction
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest
from pydantic import BaseModel

from pandaprobe_otel.mapping.clean import MAX_DEPTH, MAX_NODES, clean, encode


class Color(Enum):
    RED = "red"


class Level(IntEnum):
    HIGH = 3


class Pair(NamedTuple):
    left: int
    right: str


class Model(BaseModel):
    city: str
    inner: dict[str, Any]


@dataclass
class Place:
    name: str
    tags: set[str]


class Odd:
    def __repr__(self) -> str:
        return "<odd\x00thing>"


class Broken:
    def __repr__(self) -> str:
        raise RuntimeError("no repr")

    def __str__(self) -> str:
        raise RuntimeError("no str")


class Locked:
    """An object that raises at any access."""

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(name)

    def __repr__(self) -> str:
        raise RuntimeError("no")


class BrokenModel:
    def model_dump(self) -> dict[str, Any]:
        raise RuntimeError("no dump")

    def __repr__(self) -> str:
        return "<broken model>"


class Array:
    size = 3

    def tolist(self) -> list[float]:
        return [1.0, math.nan, 3.0]


class Text(str):
    __slots__ = ()

    def __str__(self) -> str:
        return "something else"


PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)
VALUES: list[tuple[Any, Any]] = [
    (None, None),
    (True, True),
    (7, 7),
    (2**64 - 1, 2**64 - 1),
    (-(2**63), -(2**63)),
    (2**64, str(2**64)),
    (-(10**400), hex(-(10**400)) if (10**400).bit_length() >= 4096 else str(-(10**400))),
    (10**5000, hex(10**5000)),
    (1.5, 1.5),
    (math.nan, None),
    (-math.inf, None),
    ("a\x00b", "ab"),
    ("half \ud83d end", "half � end"),
    ("joined \ud83d\ude00", "joined 😀"),
    ("ünï😀", "ünï😀"),
    (Text("mine"), "mine"),
    ((1, (2, 3)), [1, [2, 3]]),
    ({"b", "a"}, ["a", "b"]),
    (frozenset({1, "x"}), ["x", 1]),
    (deque([1, 2]), [1, 2]),
    (Pair(1, "r"), [1, "r"]),
    (OrderedDict(a=1), {"a": 1}),
    (MappingProxyType({"a": (1,)}), {"a": [1]}),
    ({7: "a", None: "b", True: "c", (1, 2): "d", Color.RED: "e", 2.5: "f"}, {
        "7": "a", "true": "c", "null": "b", "(1, 2)": "d", "red": "e", "2.5": "f",
    }),
    ({"a\x00": 1}, {"a": 1}),
    (Color.RED, "red"),
    (Level.HIGH, 3),
    (datetime.datetime(2024, 5, 1, 12, tzinfo=datetime.UTC), "2024-05-01T12:00:00+00:00"),
    (datetime.date(2024, 5, 1), "2024-05-01"),
    (datetime.timedelta(minutes=2), 120.0),
    (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    (Decimal("1.10"), "1.10"),
    (Fraction(1, 3), "1/3"),
    (PurePosixPath("/a/b"), "/a/b"),
    (ValueError("bad\x00"), "ValueError: bad"),
    (Model(city="Paris", inner={"x": math.inf}), {"city": "Paris", "inner": {"x": None}}),
    (Place("Paris", {"b", "a"}), {"name": "Paris", "tags": ["a", "b"]}),
    (Array(), [1.0, None, 3.0]),
    (Odd(), "<oddthing>"),
    (Broken(), "<Broken: cannot be shown>"),
    (Locked(), "<Locked: cannot be shown>"),
    ([Broken(), 1], ["<Broken: cannot be shown>", 1]),
    ({Broken(): 1}, {"<Broken>": 1}),
    (BrokenModel(), "<BrokenModel: cannot be shown>"),
    (PNG, {"mime_type": "image/png", "bytes": len(PNG), "sha256": hashlib.sha256(PNG).hexdigest()}),
    (bytearray(b"x"), {
        "mime_type": "application/octet-stream", "bytes": 1, "sha256": hashlib.sha256(b"x").hexdigest(),
    }),
    (memoryview(b"x"), {
        "mime_type": "application/octet-stream", "bytes": 1, "sha256": hashlib.sha256(b"x").hexdigest(),
    }),
]  # fmt: skip


@pytest.mark.parametrize(("value", "expected"), VALUES, ids=[type(value).__name__ for value, _ in VALUES])
def test_values_become_json_and_are_encoded_the_same_way(value: Any, expected: Any) -> None:
    """JSON values stay, others become the nearest JSON value, and nothing raises."""
    assert clean(value) == expected
    assert json.loads(encode(value)) == expected
    assert clean([{"in": value}]) == [{"in": expected}]


def test_a_class_is_shown_by_its_name_and_not_dumped() -> None:
    """A model class, as passed for structured output, is shown by its name."""
    assert clean(Model) == repr(Model)
    assert json.loads(encode({"output_type": Place})) == {"output_type": repr(Place)}


def test_values_that_contain_themselves_end() -> None:
    """A value that contains itself is cut at the repetition."""
    ring: dict[str, Any] = {"name": "ring"}
    ring["self"] = [ring]
    shared = {"a": 1}
    assert clean([shared, shared]) == [shared, shared]
    assert clean(ring) == {"name": "ring", "self": ["…[cut: this dict contains itself]"]}
    assert json.loads(encode(ring)) == clean(ring)


def test_nesting_ends_before_the_servers_limit() -> None:
    """Values are cut before depth 255, at which the server fails (measured on server 0.5.0)."""
    deep: Any = "bottom"
    for _ in range(10_000):
        deep = [deep]
    text = encode(deep)
    assert text.count("[[") <= MAX_DEPTH
    assert "nested too deeply" in text


@pytest.mark.parametrize("make", [lambda x: [x, x], lambda x: {"a": x, "b": x}], ids=["lists", "dicts"])
def test_values_that_explode_are_bounded(make: Any) -> None:
    """Fifty levels with two references each are only fifty objects, but encode as 2^50 values; the size is bounded."""
    bomb: Any = ["leaf"]
    for _ in range(50):
        bomb = make(bomb)
    assert len(encode(bomb, 10_000)) <= 10_000


def test_too_many_values_are_cut_with_a_note() -> None:
    """A list of millions of values keeps its beginning, with a note."""
    cleaned = clean(list(range(MAX_NODES + 5)))
    half = MAX_NODES // 2
    assert cleaned[half] == f"…[cut 5 of {MAX_NODES + 5} items]"
    assert [*cleaned[:half], *cleaned[half + 1 :]] == [*range(half), *range(half + 5, MAX_NODES + 5)]


@pytest.mark.parametrize("max_bytes", [0, 256, 1000, 50_000])
@pytest.mark.parametrize(
    "value",
    [
        "x" * 5_000_000,
        "ü" * 100_000,
        '\x01"\\' * 50_000,
        ["line " * 50] * 2000,
        {f"key {n}": "v" * 300 for n in range(1000)},
        {"k" * 100_000: 1},
        [[["deep" * 30_000]]],
        list(range(300_000)),
    ],
    ids=["ascii", "two bytes", "escapes", "rows", "keys", "long key", "deep", "numbers"],
)
def test_the_text_is_within_its_bound_and_marks_the_missing_part(value: Any, max_bytes: int) -> None:
    """For any value, the result is JSON within the bound (at least 256), with a marker for omitted parts."""
    text = encode(value, max_bytes)
    assert len(text.encode()) <= max(max_bytes, 256)
    assert "[cut" in json.dumps(json.loads(text), ensure_ascii=False)
    if isinstance(value, str) and value[0] == "x":
        kept = text.index("…") - 1
        assert json.loads(text) == "x" * kept + f"…[cut {len(value) - kept} of {len(value)} characters]"


def test_the_structure_survives_a_long_text_in_it() -> None:
    """Only the longest of many texts is cut; the others stay whole."""
    value = {"messages": [{"role": "user", "content": "short"}, {"role": "tool", "content": "y" * 100_000}], "n": 1}
    found = json.loads(encode(value, 2000))
    assert found["n"] == 1
    assert found["messages"][0] == {"role": "user", "content": "short"}
    assert found["messages"][1]["role"] == "tool"
    assert found["messages"][1]["content"].startswith("y" * 1000)


def test_a_value_may_change_in_another_thread_meanwhile() -> None:
    """The app may change its objects in another thread while they are encoded."""
    value: dict[str, Any] = {str(n): [n] * 50 for n in range(200)}
    done = threading.Event()

    def change() -> None:
        n = 0
        while not done.is_set():
            value.pop(str(n % 200), None)
            value[str((n + 7) % 200)] = [n] * (n % 60)
            n += 1

    thread = threading.Thread(target=change)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    thread.start()
    try:
        texts = [encode(value) for _ in range(200)]
    finally:
        done.set()
        thread.join()
        sys.setswitchinterval(interval)
    assert all(isinstance(json.loads(text), dict) for text in texts)
