"""JSON texts: exact numbers, encoded spans and times."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pandaprobe_otel.mapping import exact_json
from pandaprobe_otel.mapping.encoded_spans import EncodedSpans
from pandaprobe_otel.mapping.ids import rfc3339, span_uuid
from views import mapped, only_span, view

integers = st.integers(-(2**70), 2**70) | st.integers(-(10**40), 10**40)
values = st.recursive(
    st.none() | st.booleans() | integers | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=15,
)


@settings(max_examples=300)
@given(values, st.booleans(), st.booleans())
def test_any_value_is_read_as_python_reads_it(value: Any, is_ascii: bool, is_bytes: bool) -> None:
    """Integers stay integers, however long, and everything else is as orjson reads it."""
    text = json.dumps(value, ensure_ascii=is_ascii)
    found = exact_json.loads(text.encode() if is_bytes else text)
    assert repr(found) == repr(value)


@pytest.mark.parametrize("text", ["[NaN, 12345678901234567890123]", "[12345678901234567890123", "[1e400]", ""])
def test_invalid_json_is_refused(text: str) -> None:
    """Invalid JSON is a ValueError, with long numbers too."""
    with pytest.raises(ValueError):
        exact_json.loads(text)


def test_deep_nesting_with_a_long_number_is_read() -> None:
    """Python's parser gives up before orjson does; then the number is rounded, but the value is read."""
    found = exact_json.loads("[" * 1000 + "12345678901234567890123" + "]" * 1000)
    for _ in range(1000):
        (found,) = found
    assert found == pytest.approx(12345678901234567890123)


AMOUNT = 1_500_000_000_000_000_000_001
TOLD = json.dumps({"wei": AMOUNT})
CALL = {"id": "call_1", "name": "pay", "arguments": {"wei": AMOUNT}}


@pytest.mark.parametrize(
    "attributes",
    [
        {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.call.arguments": TOLD},
        {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.call.result": TOLD},
        {
            "gen_ai.operation.name": "chat",
            "gen_ai.output.messages": json.dumps([{"role": "assistant", "parts": [{"type": "tool_call", **CALL}]}]),
        },
        {"openinference.span.kind": "TOOL", "input.value": TOLD, "input.mime_type": "application/json"},
        {"openinference.span.kind": "CHAIN", "output.value": json.dumps([TOLD])},
        {"traceloop.span.kind": "tool", "traceloop.entity.input": TOLD},
        {"gen_ai.operation.name": "chat", "gen_ai.prompt.0.role": "user", "gen_ai.prompt.0.content": TOLD},
        {"mlflow.spanType": '"TOOL"', "mlflow.spanInputs": TOLD},
        {"langfuse.observation.type": "tool", "langfuse.observation.input": TOLD},
    ],
    ids=lambda attributes: list(attributes)[-1],
)
def test_an_amount_in_a_json_text_keeps_its_digits(attributes: dict[str, Any]) -> None:
    """A number of more than 64 bits in any content arrives with all its digits."""
    body = json.dumps(mapped(view("call", attributes)))
    assert str(AMOUNT) in body
    assert "e+" not in body


@pytest.mark.parametrize("name", ["gen_ai.input.messages", "pandaprobe.input"])
def test_messages_that_a_length_limit_cuts_off_are_kept_as_text(name: str) -> None:
    """Of messages that `OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT` cuts off, the whole rest is the user's message."""
    text = json.dumps([{"role": "user", "content": "Why? " * 50}])[:200]
    body = mapped(view("chat", {"gen_ai.operation.name": "chat", name: text}))
    assert only_span(body)["input"]["messages"] == [{"role": "user", "content": text}]


# -- encoded spans of a request ----------------------------------------------------------------------------------------

TRACE = 0x0123456789ABCDEF0123456789ABCDEF


def span(number: int, **fields: Any) -> dict[str, Any]:
    """Return the body of a span of the trace."""
    return {"span_id": span_uuid(TRACE, number), **fields}


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


# -- times -------------------------------------------------------------------------------------------------------------

SECOND = 1_000_000_000
END = 253_402_300_800 * SECOND


def test_times_are_written_with_microseconds() -> None:
    """Times are written with microseconds; a time after the year 9999 becomes the last possible one."""
    written = {
        0: "1970-01-01T00:00:00.000000Z",
        1_700_000_000 * SECOND + 999_999_999: "2023-11-14T22:13:20.999999Z",
        1_700_000_001 * SECOND: "2023-11-14T22:13:21.000000Z",
        1_700_000_000 * SECOND + 1_999: "2023-11-14T22:13:20.000001Z",
        -1: "1970-01-01T00:00:00.000000Z",
        END - 1: "9999-12-31T23:59:59.999999Z",
        END: "9999-12-31T23:59:59.999999Z",
        1 << 70: "9999-12-31T23:59:59.999999Z",
    }
    assert {ns: rfc3339(ns) for ns in (*written, *reversed(written))} == written


@given(st.integers(-SECOND, END + SECOND), st.integers(-2 * SECOND, 2 * SECOND))
def test_a_time_is_written_the_same_after_any_other(time: int, before: int) -> None:
    """The second of the last time is remembered, and the next time may be in the same second or not."""
    expected = rfc3339(time)
    rfc3339(time + before)
    assert rfc3339(time) == expected
