"""JSON attributes cut off by a length limit of OpenTelemetry's SDK keep their structure, with a mark."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import orjson
import pytest

from pandaprobe_otel.mapping.cut_json import MARK, completed
from views import mapped, only_span, view

VALUES: tuple[Any, ...] = (
    [
        {"role": "user", "parts": [{"type": "text", "content": 'Hé "q" \\ \n ☃ 😀 [x{"}]},'}]},
        {"role": "assistant", "parts": [{"type": "tool_call", "arguments": {"a": 1.5, "b": [True, None, -2e3]}}]},
    ],
    {"a": {}, "b": [[]], "c": "a text", "the last one": False},
    'a text of "its own", longer than it needs to be',
)
FORMS: dict[str, Callable[[Any], str]] = {
    "dense": lambda value: orjson.dumps(value).decode(),
    "escaped": json.dumps,
    "indented": lambda value: json.dumps(value, indent=1),
}


def leaves(value: Any) -> list[Any]:
    """Return the leaf values in order, without marks."""
    if isinstance(value, dict):
        return [leaf for item in value.values() for leaf in leaves(item)]
    if isinstance(value, list):
        return [leaf for item in value for leaf in leaves(item)]
    return [] if value == MARK else [value]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("value", VALUES, ids=["list", "object", "text"])
def test_at_any_cut_the_beginning_is_kept(value: Any, form: str) -> None:
    """At any cut, the values are exactly those before it, the last one possibly shortened, with a mark."""
    text = FORMS[form](value)
    for length in range(32, len(text)):
        found = completed(text[:length])
        assert type(found) is type(value)
        assert MARK in json.dumps(found, ensure_ascii=False)
        *whole, last = leaves(found) or [""]
        assert whole == leaves(value)[: len(whole)]
        if isinstance(last, str):
            assert leaves(value)[len(whole)].startswith(last.removesuffix(MARK))


@pytest.mark.parametrize(
    "text",
    [
        "[note that this is no JSON, though it may look so",
        "{hello} and then some more words, as in a template",
        '["a list", and then] some more words, and "a quotation',
        '{"a" is a letter, and this is a sentence about it',
        '"A quotation", and what was said about it later on',
        '["a list"] and a word after it, which is no part of it',
        '["a", "\\uzzzz is no character, so this is not JSON", "b',
    ],
)
def test_text_that_is_not_json_is_unchanged(text: str) -> None:
    """Text that is not JSON is unchanged, even if it begins like JSON."""
    assert completed(text) == text


@pytest.mark.parametrize("name", ["gen_ai.input.messages", "pandaprobe.input"])
def test_messages_of_any_emitter_stay_messages(name: str) -> None:
    """Messages stay messages if `OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT` cuts the attributes."""
    parts = [{"type": "text", "content": "Why? " * 50}]
    messages = [{"role": "system", "content": "Be kind."}, {"role": "user", "parts": parts}]
    body = mapped(view("chat", {"gen_ai.operation.name": "chat", name: json.dumps(messages)[:200]}))
    system, user = only_span(body)["input"]["messages"]
    assert system == messages[0]
    assert (user["role"], user["content"][:9], user["content"].endswith(MARK)) == ("user", "Why? Why?", True)


@pytest.mark.parametrize("opening", ["[", '{"a":', '[{"a":'])
def test_json_deeper_than_the_server_stores_stays_text(opening: str) -> None:
    """JSON deeper than the server stores stays text, and a megabyte of brackets takes no quadratic time."""
    text = opening * (1_000_000 // len(opening))

    assert completed(text) is text
    assert MARK in json.dumps(completed(opening * 50 + '"a long enough text that is cut'), ensure_ascii=False)
    assert not isinstance(completed(opening * 50 + '"a long enough text that is cut'), str)
