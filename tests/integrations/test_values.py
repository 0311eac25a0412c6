"""Values of requests and answers as they are recorded: their JSON, their form, and members without an attribute."""

from __future__ import annotations

import base64
import hashlib
import io
import math
from typing import Any

import pytest
from pydantic import BaseModel

from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations._json import encoded, from_json, object_from_json, to_json, to_json_bytes
from pandaprobe_otel_integrations._other_members import (
    WITHHELD,
    grown,
    rest,
    told,
)

NOTHING: frozenset[str] = frozenset()


@pytest.mark.parametrize(
    "name",
    [
        "api_key", "API-Key", "x-api-key", "authorization", "authorization_token", "user_access_token", "extra_headers",
        "headers", "client_secret", "aws_secret_access_key", "aws_session_token", "azure_ad_token", "password",
        "vertex_credentials", "apiKey",
    ],
)  # fmt: skip
def test_credentials_are_withheld_at_any_depth(name: str) -> None:
    """A credential's name is recorded, but not its value."""
    assert rest({"tools": [{name: "sk-1"}]}, NOTHING) == {"tools": [{name: WITHHELD}]}


@pytest.mark.parametrize(
    "name", ["token", "max_tokens", "token_budget", "prompt_tokens", "keyword", "header", "author"]
)
def test_other_names_are_no_credentials(name: str) -> None:
    """Names with "token" that count tokens of a text are not taken for credentials."""
    assert rest({name: "x"}, NOTHING) == {name: "x"}


def test_bytes_are_recorded_as_digests() -> None:
    """Bytes, a data URL, and base64 that is long enough to be recognised are recorded as digests."""
    data = bytes(range(256)) * 8
    encoded = base64.b64encode(data).decode()
    digest = hashlib.sha256(data).hexdigest()
    found: Any = told({"a": data, "b": f"data:image/png;base64,{encoded}", "c": [encoded]})
    assert [found["a"]["sha256"], found["b"]["sha256"], found["c"][0]["sha256"]] == [digest] * 3
    assert told("word " * 1000) == "word " * 1000


def test_models_and_marks_of_client_libraries() -> None:
    """A pydantic class is recorded as its schema, an instance as its fields; a "not given" mark is left out."""

    class Found(BaseModel):
        """A pydantic answer."""

        city: str

    class NotGiven:
        """A client library's mark for an argument that was not given."""

    assert rest({"format": Found}, NOTHING)["format"]["properties"]["city"]["type"] == "string"
    assert rest(
        {"given": Found(city="Paris"), "none": NotGiven(), "inside": {"none": NotGiven(), "a": 1}}, NOTHING
    ) == {
        "given": {"city": "Paris"},
        "inside": {"a": 1},
    }
    assert rest({"type": int}, NOTHING) == {"type": "int"}


def test_an_unreadable_value_takes_no_other_with_it() -> None:
    """A value that raises or is nested too deeply is replaced by its type, and the other values are recorded."""

    class Broken(BaseModel):
        """A class whose schema cannot be made."""

        @classmethod
        def model_json_schema(cls, *args: Any, **kwargs: Any) -> dict[str, Any]:
            """Fail."""
            raise RuntimeError

    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    assert rest({"a": Broken, "b": deep, "c": 1}, NOTHING) == {
        "a": "[ModelMetaclass that cannot be read]",
        "b": "[list that cannot be read]",
        "c": 1,
    }


@pytest.mark.parametrize(
    ("pieces", "whole"),
    [
        (({"a": 1}, {"b": 2}), {"a": 1, "b": 2}),
        (([1], [2]), [1, 2]),
        (([1], [1, 2]), [1, 2]),
        ((None, [1], None), [1]),
        (("a", "b"), "b"),
        (({"list": [1]}, {"list": [2]}), {"list": [1, 2]}),
        (
            (
                [{"type": "t", "index": 0, "text": "a"}],
                [{"type": "t", "index": 0, "text": "b"}, {"type": "t", "index": 1}],
            ),
            [{"type": "t", "index": 0, "text": "ab"}, {"type": "t", "index": 1}],
        ),
    ],
)
def test_pieces_of_a_value_are_one_value(pieces: Any, whole: Any) -> None:
    """Pieces of lists and objects are joined; a piece that repeats the value so far is not added again."""
    found: Any = None
    for piece in pieces:
        found = grown(found, piece)
    assert found == whole


@pytest.mark.parametrize(
    ("document", "found"),
    [
        (b'{"a": 1}', {"a": 1}),
        ('{"a": 1}', {"a": 1}),
        (bytearray(b'{"a": 1}'), {"a": 1}),
        (b"{}", {}),
        ('{"a": "\\ud800"}', {"a": "\ud800"}),
        (b'{"a": "\xff"}', {"a": "\ufffd"}),
        (b'{"wei": 1500000000000000000001}', {"wei": 1_500_000_000_000_000_000_001}),
    ],
)
def test_an_object(document: Any, found: dict[str, Any]) -> None:
    """An object is read from every type that holds text, even if orjson cannot read the text."""
    assert object_from_json(document) == found


def test_an_object_with_a_number_that_json_has_not() -> None:
    """An object may contain NaN, which the standard library writes although JSON does not allow it."""
    found = object_from_json(b'{"a": NaN}')
    assert found is not None
    assert math.isnan(found["a"])


@pytest.mark.parametrize(
    "document",
    [b"", b"[1]", b"null", b"no JSON", b'{"a": ', '{"a":' * 100_000, None, 1, io.BytesIO(b'{"a": 1}'), object()],
    ids=lambda document: type(document).__name__,
)
def test_only_a_complete_object_is_read(document: Any) -> None:
    """No object is read from another JSON value, from an incomplete document, or from a file."""
    assert object_from_json(document) is None


def test_a_file_is_left_unread() -> None:
    """A file is not read, since the client is about to send it."""
    file = io.BytesIO(b'{"a": 1}')
    assert object_from_json(file) is None
    assert file.tell() == 0


@pytest.mark.parametrize("value", ["\ud800", 1 << 80, {"a": ["\ud800", -(1 << 90)]}])
def test_values_that_orjson_refuses_are_written_and_read(value: Any) -> None:
    """A lone surrogate and integers of more than 64 bits, which orjson refuses, are written and read back unchanged."""
    assert from_json(to_json(value)) == value
    assert to_json_bytes(value).decode() == to_json(value)


@pytest.mark.parametrize(
    ("value", "recorded"), [({}, "{}"), ([], "[]"), (0, "0"), (False, "false"), ({"a": 1}, '{"a":1}'), ("x", "x")]
)
@pytest.mark.parametrize("name", [names.TOOL_CALL_ARGUMENTS, names.TOOL_CALL_RESULT])
def test_a_tool_without_arguments_or_result(name: str, value: Any, recorded: str) -> None:
    """A tool call without arguments or result is recorded as empty, unlike one with unknown arguments."""
    assert encoded({name: value}) == {name: recorded}
