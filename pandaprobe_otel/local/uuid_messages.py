"""The server's messages about text that is not a UUID.

The wording comes from the validation library and differs between its versions. Server 0.5.0's wording is used with any
installed version, so that clients get the same text from both servers.
"""

from __future__ import annotations

from typing import Final

_PREFIX: Final = "Input should be a valid UUID, "
_URN: Final = "urn:uuid:"
_HEX: Final = frozenset("0123456789abcdefABCDEF")
_GROUPS: Final = (8, 4, 4, 4, 12)


def uuid_message(text: str) -> str:
    """Return the server's error message for a text that is not a UUID."""
    body, skipped = _unwrapped(text)
    for position, character in enumerate(body):
        if character != "-" and character not in _HEX:
            # The position counts bytes, from 1, in the whole text.
            at = len(body[:position].encode("utf-8", "surrogatepass")) + skipped + 1
            return (
                f"{_PREFIX}invalid character: expected an optional prefix of `urn:uuid:` followed by [0-9a-fA-F-], "
                f"found `{character}` at {at}"
            )
    groups = body.split("-")
    if len(groups) == 1 and not skipped:
        return f"{_PREFIX}invalid length: expected length 32 for simple format, found {len(text)}"
    if len(groups) != len(_GROUPS):
        return f"{_PREFIX}invalid group count: expected {len(_GROUPS)}, found {len(groups)}"
    for number, (group, length) in enumerate(zip(groups, _GROUPS, strict=True)):
        if len(group) != length:
            return f"{_PREFIX}invalid group length in group {number}: expected {length}, found {len(group)}"
    return f"{_PREFIX}invalid length: expected length 32 for simple format, found {len(text)}"


def _unwrapped(text: str) -> tuple[str, int]:
    if text.startswith("{") and text.endswith("}") and len(text) > 1:
        return text[1:-1], 1
    if text.startswith(_URN):
        return text[len(_URN) :], len(_URN)
    return text, 0
