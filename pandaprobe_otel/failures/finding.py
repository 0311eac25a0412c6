"""A finding: one failure of a trace, its fingerprint, and the explanation of the fingerprint."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

RULES: Final = 1
"""Version of the rules. It is part of each fingerprint, so that new rules never regroup what older ones have found."""


class FailureKind(StrEnum):
    """A kind of failure. Their order is their rank: the first finding of a trace is the one of the highest rank."""

    EXCEPTION = "exception"
    TIMEOUT = "timeout"
    BAD_ARGUMENTS = "bad arguments"
    UNKNOWN_TOOL = "unknown tool"
    LOOP = "loop"
    BROKEN_JSON = "broken JSON"
    TRUNCATED = "truncated"
    REFUSED = "refused"
    HAND_OFF = "hand-off"
    JUDGED = "judged"


RANK: Final[Mapping[FailureKind, int]] = {kind: rank for rank, kind in enumerate(FailureKind)}
RULE_OF: Final[Mapping[FailureKind, str]] = {
    FailureKind.EXCEPTION: (
        "A span failed and none below it did. Equal are the span's kind and name, the error's type, and the first line "
        "of its message without what changes: ids, numbers, dates, addresses, paths, durations and long texts."
    ),
    FailureKind.TIMEOUT: "A span ran out of time. Equal are its kind and name; the message does not count.",
    FailureKind.BAD_ARGUMENTS: (
        "A tool refused its arguments. Equal are the tool, the argument, and its fault; values do not count."
    ),
    FailureKind.UNKNOWN_TOOL: "A model asked for a tool that it was not offered. Equal is the tool's name.",
    FailureKind.LOOP: (
        "The same calls of tools, with the same arguments, succeeded at least three times in a row. Equal are the "
        "tools of the shortest cycle; arguments and the number of rounds do not count."
    ),
    FailureKind.BROKEN_JSON: (
        "An answer was to be JSON and is none. Equal are the call's name and the fault: a fence around it, an answer "
        "that ends early, prose, or other syntax."
    ),
    FailureKind.TRUNCATED: "An answer ended at its limit of tokens. Equal is the call's name.",
    FailureKind.REFUSED: (
        "A model, or a filter around it, refused to answer. Equal are the call's name and which of the two it was; the "
        "wording does not count."
    ),
    FailureKind.HAND_OFF: (
        "An agent handed over to another one, which handed back. Equal are the two; other agents do not count."
    ),
    FailureKind.JUDGED: (
        "A score is below 0.5. Equal are the metric and the tools that its reason names, else the retrievers that ran; "
        "the rest of the reason does not count."
    ),
}
"""The rule of each kind, as it is shown to people."""
MARKED: Final = "The program named this failure itself: `fingerprint` in the metadata of a span or of the trace."


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One failure of a trace.

    Attributes:
        parts: Names and values that are equal in all traces of the group.
        title: A name for the group, until a person gives it one.
        text: The text of this trace that the finding was made of; no part of the fingerprint.
        recovered: A later span of the same kind and name succeeded, and so did the trace: no failure.
        marked: The program's own fingerprint, in place of the parts.
    """

    kind: FailureKind
    parts: tuple[tuple[str, str], ...]
    title: str
    span_id: str | None = None
    text: str = ""
    recovered: bool = False
    marked: str | None = None

    @property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits; equal for failures that are alike."""
        equal = ["marked", self.marked] if self.marked is not None else [self.kind, *map(list, self.parts)]
        text = json.dumps([RULES, *equal], ensure_ascii=False, separators=(",", ":"))
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]

    @property
    def why(self) -> str:
        """The rule by which traces are in this finding's group."""
        return MARKED if self.marked is not None else RULE_OF[self.kind]
