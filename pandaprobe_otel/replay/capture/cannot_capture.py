"""Refusal of a trace that cannot become a test, and the values that lead to it: masked, cut, or not recorded."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, cast

from pandaprobe_otel.mapping.options import MASK_FAILED, MASKED

CUT: Final = re.compile(r"…\s?\[cut\b|\[cut \d+ of \d+ ")


class CannotCapture(ValueError):
    """A trace lacks something that a test needs. The text names the missing part and its place."""


def check_whole(value: Any, what: str) -> None:
    """Raise CannotCapture if part of a value was masked or cut."""
    for text in texts_in(value):
        if MASKED in text or MASK_FAILED in text:
            raise CannotCapture(f"{what} is masked")
        if CUT.search(text):
            raise CannotCapture(f"{what} is cut off")


def texts_in(value: Any) -> Iterator[str]:
    """Yield every text in a value, including names of members."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for name, item in cast("Mapping[str, Any]", value).items():
            yield name
            yield from texts_in(item)
    elif isinstance(value, Sequence):
        for item in cast("Iterable[Any]", value):
            yield from texts_in(item)
