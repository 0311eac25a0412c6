"""Similarity of two texts, by a judge's embeddings or by their words."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import Final

_WORD: Final = re.compile(r"\w+")
# The most common English words. With them, almost any two texts would look similar.
_COMMON_TEXT: Final = """
    a an and are as at be but by can could did do does for from had has have he her his i if in into is it its may me my
    no nor not of on or our shall she should so some than that the their them then there these they this those to too
    was we were what when which who will with would you your
"""
_COMMON: Final = frozenset(_COMMON_TEXT.split())


def cosine(left: Sequence[float], right: Sequence[float]) -> float:
    """Return the cosine of the angle between two vectors; 0 if one of them is zero."""
    product = sum(a * b for a, b in zip(left, right, strict=True))
    lengths = math.sqrt(sum(a * a for a in left) * sum(b * b for b in right))
    return product / lengths if lengths else 0.0


def lexical(left: str, right: str) -> float:
    """Return the cosine of two texts' word counts."""
    a, b = Counter(_WORD.findall(left.lower())), Counter(_WORD.findall(right.lower()))
    words = sorted({*a, *b})
    return cosine([a[word] for word in words], [b[word] for word in words])


def overlap(left: str, right: str) -> float:
    """Return the share of distinct words that two texts have in common (Jaccard), without the most common words."""
    a, b = _content_words(left), _content_words(right)
    return len(a & b) / len(a | b) if a | b else 0.0


def _content_words(text: str) -> set[str]:
    return {word for word in _WORD.findall(text.lower()) if len(word) > 1 and word not in _COMMON}
