"""Words of texts, as searches find them.

A phrase must be inside one string, so that it never spans two messages.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from pandaprobe_otel.local.payloads import loads

SHORTEST_PREFIX: Final = 4
"""Minimum number of letters before `*`. A search combines all words with these first letters, and fewer letters have
too many.
"""
BETWEEN: Final = "\ue000"
"""A private-use character. The index treats it as a word, and no search contains it."""
_WORD: Final = re.compile(r"[^\W_]+")
# Scripts without spaces: each character is a word, and a text is a phrase of them.
_UNSPACED: Final = re.compile("([\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff])")
_DATA_FROM: Final = 1000
"""Characters without a space from which a text counts as encoded data, which nobody searches for."""


@dataclass(frozen=True, slots=True)
class Phrase:
    """Consecutive words. If `is_prefix`, the last one matches all words that begin with it."""

    words: tuple[str, ...]
    is_prefix: bool = False

    @property
    def match(self) -> str:
        """The phrase in the form of FTS5."""
        return f'"{" ".join(self.words)}"' + (" *" if self.is_prefix else "")


def phrase_of(text: str, *, is_prefix: bool = False) -> Phrase | None:
    """Return the words to search for; None for a text without words."""
    words = tuple(_WORD.findall(plain(text).replace(BETWEEN, " ")))
    return Phrase(words, is_prefix) if words else None


def plain(text: str) -> str:
    """Return a text in the form in which words are compared: case-folded, with composed accents."""
    if text.isascii():
        return text.lower()
    return _UNSPACED.sub(r" \1 ", unicodedata.normalize("NFC", text)).lower()


def strings_in(payload: str) -> Iterator[str]:
    """Yield the texts and numbers of stored JSON."""
    waiting: list[Any] = [loads(payload)]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            waiting.extend(cast(Mapping[str, Any], value).values())
        elif isinstance(value, list):
            waiting.extend(cast(Sequence[Any], value))
        elif value is not None and not isinstance(value, bool):
            yield str(value)


def is_data(text: str) -> bool:
    """Return whether a text is encoded data, such as an image."""
    return len(text) >= _DATA_FROM and " " not in text[:_DATA_FROM] and text.isascii() and "\n" not in text[:_DATA_FROM]
