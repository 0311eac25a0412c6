"""Error messages about ids equal the real server's, whichever validation library is installed."""

from __future__ import annotations

import pytest

from pandaprobe_otel.local.uuid_messages import uuid_message

FOUND = "invalid character: expected an optional prefix of `urn:uuid:` followed by [0-9a-fA-F-], found"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("abc", "invalid length: expected length 32 for simple format, found 3"),
        ("00f067aa0ba902b7", "invalid length: expected length 32 for simple format, found 16"),
        ("x", f"{FOUND} `x` at 1"),
        ("00f0-é", f"{FOUND} `é` at 6"),
        ("urn:uuid:g", f"{FOUND} `g` at 10"),
        ("{zz}", f"{FOUND} `z` at 2"),
        ("1-2", "invalid group count: expected 5, found 2"),
        (
            "0f4f6f4e-0000-4000-8000-00000000001",
            "invalid group length in group 4: expected 12, found 11",
        ),
        ("0f4f6f4-0000-4000-8000-000000000001", "invalid group length in group 0: expected 8, found 7"),
    ],
)
def test_a_wrong_id_is_refused_with_the_position(text: str, message: str) -> None:
    """The message names the first error and its position."""
    assert uuid_message(text) == f"Input should be a valid UUID, {message}"
