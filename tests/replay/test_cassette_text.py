"""The text of a cassette is YAML that every parser reads as it was written."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from pandaprobe_otel.replay.cassette_text import Flow, Text, yaml_of

LOADERS: list[Any] = [yaml.SafeLoader, *filter(None, [getattr(yaml, "CSafeLoader", None)])]
WORDS = st.sampled_from(
    ["yes", "null", "1e5", "2026-01-01", "a: b", "a #b", "- a", "? a", "<<", "=", "~", "http://x:1/a", "…", "a'b", "'"]
)
LINES = st.lists(st.sampled_from(["", " ", "\t", "  a", "a ", "data: {}", "#", "---", "...", "- x", "é"]), max_size=6)
TEXTS = st.one_of(
    WORDS,
    LINES.map("\n".join),
    st.text(max_size=12),
    st.text('\n\t \r\x85\u2028\ufeff\x7f{}[]:,#&*!|>%@`"\\a', max_size=8),
)
SCALARS = st.one_of(
    TEXTS, st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.sampled_from([1e22, 1e-9, -3e100])
)
FLOWS = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXTS, inner, max_size=4)),
    max_leaves=9,
)
DOCUMENTS = st.fixed_dictionaries(
    {
        "flow": st.dictionaries(TEXTS, FLOWS, max_size=4).map(Flow),
        "items": st.lists(
            st.fixed_dictionaries(
                {
                    "text": TEXTS.map(Text),
                    "long": TEXTS.map(lambda text: Text(text + "x" * 70)),
                    "bytes": st.binary(max_size=90),
                    "headers": st.dictionaries(TEXTS, st.lists(TEXTS, min_size=1, max_size=2), max_size=3),
                    "chunks": FLOWS,
                    "last": TEXTS.map(lambda text: Text(f"{text}\nend\n\n")),
                }
            ),
            max_size=2,
        ),
    }
)


@settings(deadline=None, max_examples=60)
@given(DOCUMENTS)
def test_both_loaders_read_the_document(document: dict[str, Any]) -> None:
    """Both loaders of PyYAML read the document that was written."""
    text = yaml_of(document)
    for loader in LOADERS:
        assert yaml.load(text, Loader=loader) == document


@pytest.mark.outer
@pytest.mark.exhaustive
@settings(deadline=None, max_examples=5000)
@given(DOCUMENTS)
def test_whatever_is_written_is_read(document: dict[str, Any]) -> None:
    """Both loaders of PyYAML read any of many documents."""
    text = yaml_of(document)
    for loader in LOADERS:
        assert yaml.load(text, Loader=loader) == document


def test_bodies_read_as_they_are() -> None:
    """Lines of a body are lines of the file; a text that YAML would change is quoted."""
    sent = {"list": [{"body": Text('{"a": 1,\n "b": 2}\n'), "string": Text("data: x\n\n")}], "odd": Text("a\r\nb")}
    assert yaml_of(sent) == (
        'list:\n- body: |\n    {"a": 1,\n     "b": 2}\n  string: |+\n    data: x\n\nodd: "a\\r\\nb"\n'
    )


def test_flows_are_broken_between_their_parts() -> None:
    """Flow sequences are wrapped at the line width, and never within a text."""
    lines = yaml_of({"chunks": Flow(chunks=[[40, 171]] * 30, text="x" * 150)}).splitlines()
    assert [len(line) <= 120 for line in lines] == [True, True, True, True, False]
