"""JSON from any source: one object or none, and forms that only a lenient reader or writer accepts."""

from __future__ import annotations

import io
import math
from typing import Any

import pytest

from pandaprobe_otel_integrations._json import from_json, object_from_json, to_json, to_json_bytes


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
