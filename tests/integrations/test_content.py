"""Content as span attributes: values that are omitted, and values that are recorded although empty."""

from __future__ import annotations

from typing import Any

import pytest

from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations._content import encoded


@pytest.mark.parametrize(
    ("value", "recorded"), [({}, "{}"), ([], "[]"), (0, "0"), (False, "false"), ({"a": 1}, '{"a":1}'), ("x", "x")]
)
@pytest.mark.parametrize("name", [names.TOOL_CALL_ARGUMENTS, names.TOOL_CALL_RESULT])
def test_a_tool_without_arguments_or_result(name: str, value: Any, recorded: str) -> None:
    """A tool call without arguments or result is recorded as empty, unlike one with unknown arguments."""
    assert encoded({name: value}) == {name: recorded}


@pytest.mark.parametrize(
    "content",
    [
        {names.TOOL_CALL_ARGUMENTS: None, names.TOOL_CALL_RESULT: ""},
        {names.INPUT_MESSAGES: [], names.TOOL_DEFINITIONS: None, names.RETRIEVAL_DOCUMENTS: []},
    ],
)
def test_unknown_values_are_left_out(content: dict[str, Any]) -> None:
    """Unknown values are omitted; an empty list of messages or definitions counts as unknown."""
    assert encoded(content) == {}
