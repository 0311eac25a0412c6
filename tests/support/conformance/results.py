"""Cases that have passed in this process, from which the page is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from opentelemetry.sdk.trace import ReadableSpan

from .span_check import OUTPUT_TOKENS


class Row(NamedTuple):
    """One way to call one library."""

    library: str
    mode: str
    shape: str


@dataclass(frozen=True, slots=True)
class Passed:
    """A passed case, with the kinds of content in its span."""

    output_tokens: bool
    output: bool


@dataclass(slots=True)
class Results:
    """Every case that has passed, by row and name."""

    found: dict[Row, dict[str, Passed]] = field(default_factory=dict[Row, dict[str, Passed]])

    def passed(self, row: Row, case: str, spans: Sequence[ReadableSpan]) -> None:
        """Note that this case has passed with these spans, or with none if there was no call."""
        attributes = (spans[0].attributes if spans else None) or {}
        kept = Passed(OUTPUT_TOKENS in attributes, "gen_ai.output.messages" in attributes)
        self.found.setdefault(row, {})[case] = kept


RESULTS: Final = Results()
