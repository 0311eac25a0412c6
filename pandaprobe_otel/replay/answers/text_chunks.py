"""Texts cut into the pieces that a stream has them in."""

from __future__ import annotations

import re
from typing import Final

_WORD: Final = re.compile(r"\s*\S+\s?|\s+")


def pieces(text: str) -> list[str]:
    """A text cut after words: its pieces in a row are the text."""
    return _WORD.findall(text)
