"""Estimate of tokens without a vocabulary. It is an upper bound for the common vocabularies."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

_PIECE: Final = re.compile(
    # Hashes and base64: no vocabulary has more than two of their characters in one token.
    r"(?P<run>[A-Za-z0-9+/=_-]{40,}|(?=[A-Za-z]*[0-9])[A-Za-z0-9]{20,})"
    r"|(?P<gibberish>[A-Z]?(?=[a-z]*[bcdfghjklmnpqrstvwxz]{4})[a-z]+)"
    r"|(?P<word>[A-Z]?[a-z]+)"
    r"|(?P<capitals>[A-Z]+)"
    r"|(?P<digits>[0-9]+)"
    r"|(?P<line>\n)"
    r"|(?P<space>[ \t\r\f\v]+)"
    r"|(?P<sign>[\x00-\x7f])"
    r"|(?P<other>[^\x00-\x7f])"
)
_MARGIN: Final = 1.1
# Measured with cl100k, o200k and Anthropic's published vocabulary: emoji and their joiners take up to three tokens.
_PICTOGRAPHS: Final = 0x1F000
_SYMBOLS: Final = range(0x2300, 0x2C00)
_SELECTORS: Final = range(0xFE00, 0xFE10)
_COMMON: Final = frozenset(map(ord, "…–—‘’“”"))


def tokens_in(text: str) -> int:
    """Return an upper bound on the tokens of a text."""
    return with_margin(sum(cost for _, cost in pieces(text)))


def with_margin(cost: float) -> int:
    """Return the number of tokens for a total cost of pieces, with the margin."""
    return int(cost * _MARGIN + 0.999)


def affordable(tokens: int) -> float:
    """Return the total cost of pieces that a number of tokens allows, with the margin."""
    return tokens / _MARGIN


def pieces(text: str) -> Iterator[tuple[int, float]]:
    """Yield the end and the cost of each piece of a text."""
    for match in _PIECE.finditer(text):
        yield match.end(), _cost(match)


def _cost(match: re.Match[str]) -> float:
    length = match.end() - match.start()
    match match.lastgroup:
        case "run":
            return length * 0.8
        case "gibberish":
            return length * 0.6
        case "word":
            return 1 if length <= 6 else -(-length // 4)
        case "capitals":
            return -(-length // 3)
        case "digits":
            return 1 if length <= 3 else -(-length // 2)
        case "space":
            return 0 if length == 1 else 1 + length // 16  # One space belongs to the next word.
        case "other":
            return _of_other(ord(match[0]))
        case _:
            return 1


def _of_other(code: int) -> int:
    if code in _COMMON:
        return 1
    return 3 if code >= _PICTOGRAPHS or code in _SYMBOLS or code in _SELECTORS else 2
