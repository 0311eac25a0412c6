"""The encoded spans of a request can be separated again."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pandaprobe_otel.mapping.encoded_spans import EncodedSpans
from pandaprobe_otel.mapping.ids import span_uuid

TRACE = 0x0123456789ABCDEF0123456789ABCDEF

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(-1e300, 1e300) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def span(number: int, **fields: Any) -> dict[str, Any]:
    """Return the body of a span of the trace."""
    return {"span_id": span_uuid(TRACE, number), **fields}


@given(st.lists(JSON, max_size=6))
def test_spans_come_back_one_by_one(contents: list[Any]) -> None:
    """Spans with any contents are separated exactly."""
    pieces = [orjson.dumps(span(number, input=content)) for number, content in enumerate(contents)]
    encoded = EncodedSpans.of(pieces)
    assert [*encoded] == pieces
    assert len(encoded) == len(pieces)
    assert orjson.loads(b"[%b]" % encoded.joined) == [orjson.loads(piece) for piece in pieces]


@pytest.mark.parametrize(
    "content",
    [
        [span(7), span(8)],
        orjson.dumps([span(7), span(8)]).decode(),
        {"a": [{"b": 1}, span(9, input=[span(1), span(2)])]},
        "},{",
    ],
)
def test_content_that_looks_like_spans_of_the_trace_is_content(content: Any) -> None:
    """Content that looks like encoded spans, such as the result of a tool that reads traces, is not separated."""
    pieces = [orjson.dumps(span(number, output=content)) for number in range(3)]
    assert [*EncodedSpans.of(pieces)] == pieces
