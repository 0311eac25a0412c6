"""Numbers in JSON texts: an integer of any size arrives digit by digit."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pandaprobe_otel.mapping import exact_json
from views import mapped, view

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


@pytest.mark.parametrize("number", [2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1, 10**25, -(10**18)])
@pytest.mark.parametrize("before", range(8))
def test_an_integer_at_any_place_keeps_its_digits(number: int, before: int) -> None:
    """The look at every fourth character finds enough digits wherever they begin."""
    for text in (f'["{"x" * before}",{number}]', f"{' ' * before}{number}"):
        assert repr(exact_json.loads(text)) == repr(json.loads(text))


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
