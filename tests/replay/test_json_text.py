"""JSON as written in a cassette."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pandaprobe_otel.replay.json_text import dump, dump_in_lines


def values(texts: st.SearchStrategy[str]) -> st.SearchStrategy[dict[str, Any]]:
    """Return a strategy for objects like requests: lists of messages, and any other values."""
    leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts
    anything = st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
        max_leaves=12,
    )
    messages = st.lists(st.dictionaries(texts, texts, max_size=3) | anything, max_size=6)
    return st.dictionaries(texts, messages | anything, max_size=4)


@given(values(st.text(st.characters(), max_size=20)))
def test_any_text_is_written(value: dict[str, Any]) -> None:
    """Any text can be written, even with a lone surrogate, which UTF-8 does not encode."""
    assert json.loads(dump_in_lines(value).encode()) == value
    assert json.loads(dump(value).encode()) == value


@given(values(st.text(st.characters(exclude_categories=["Cs"]), max_size=20)))
def test_lines_are_the_same_json(value: dict[str, Any]) -> None:
    """The JSON equals that of the standard library, except for line breaks between items."""
    first, *rest = dump_in_lines(value).removesuffix("\n").split("\n")
    assert " ".join([first, *(line.lstrip(" ") for line in rest)]) == json.dumps(value, ensure_ascii=False)
