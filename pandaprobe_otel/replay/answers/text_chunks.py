"""Texts, cut into pieces as in a stream."""

from __future__ import annotations

import re
from typing import Final

_WORD: Final = re.compile(r"\s*\S+\s?|\s+")


def pieces(text: str) -> list[str]:
    """Return the pieces of a text, each of which ends after a word."""
    return _WORD.findall(text)
