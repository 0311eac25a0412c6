"""A finding: one failure of a trace, its fingerprint with the explanation, and the next steps from it to a test."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from pandaprobe_otel.traces.records import SpanRecord

RULES: Final = 1
"""Version of the rules. It is part of each fingerprint, so that new rules never regroup findings of older ones."""


class FailureKind(StrEnum):
    """Kinds of failures, in the order of their rank."""

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
        "A span failed, and no span below it did. The group has the same span kind and name, error type, and first "
        "line of the message without variable parts: ids, numbers, dates, addresses, paths, durations and long texts."
    ),
    FailureKind.TIMEOUT: "A span timed out. The group has the same span kind and name; the message does not count.",
    FailureKind.BAD_ARGUMENTS: (
        "A tool refused its arguments. The group has the same tool, argument and fault; values do not count."
    ),
    FailureKind.UNKNOWN_TOOL: "A model asked for a tool that it was not offered. The group has the same tool name.",
    FailureKind.LOOP: (
        "The same tool calls, with the same arguments, succeeded at least three times in a row. The group has the "
        "same tools in the shortest cycle; arguments and the number of rounds do not count."
    ),
    FailureKind.BROKEN_JSON: (
        "An answer should be JSON but is not. The group has the same call name and fault: a fence around the JSON, an "
        "early end, prose, or another syntax error."
    ),
    FailureKind.TRUNCATED: "An answer ended at its token limit. The group has the same call name.",
    FailureKind.REFUSED: (
        "A model, or a filter around it, refused to answer. The group has the same call name and the same kind of "
        "refusal (model or filter); the wording does not count."
    ),
    FailureKind.HAND_OFF: (
        "An agent handed over to another one, which handed back. The group has the same two agents; others do not "
        "count."
    ),
    FailureKind.JUDGED: (
        "A score is below 0.5. The group has the same metric, and the same tools in its reason or, if it names none, "
        "the same retrievers in the trace. The rest of the reason does not count."
    ),
}
"""Rule of each kind, in words for people."""
MARKED: Final = "The program named this failure itself: `fingerprint` in the metadata of a span or of the trace."


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One failure of a trace.

    Attributes:
        parts: Names and values that all traces of the group share.
        title: The name of the group, until a person gives it one.
        text: The text of this trace that the finding is based on; not part of the fingerprint.
        recovered: True if a later span of this kind and name succeeded, and so did the trace. This is not a failure.
        marked: The program's own fingerprint, which replaces the parts.
    """

    kind: FailureKind
    parts: tuple[tuple[str, str], ...]
    title: str
    span_id: str | None = None
    text: str = ""
    recovered: bool = False
    marked: str | None = None

    @classmethod
    def of(cls, kind: FailureKind, span: SpanRecord | None, title: str, text: str, /, **parts: str) -> Self:
        """Return the finding at a span, or at the whole trace."""
        span_id = None if span is None else span.id
        return cls(kind=kind, parts=tuple(parts.items()), title=title, span_id=span_id, text=text)

    @property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits, equal for failures that are alike."""
        equal = ["marked", self.marked] if self.marked is not None else [self.kind, *map(list, self.parts)]
        text = json.dumps([RULES, *equal], ensure_ascii=False, separators=(",", ":"))
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]

    @property
    def why(self) -> str:
        """Rule that puts traces into this finding's group."""
        return MARKED if self.marked is not None else RULE_OF[self.kind]


_METRICS: Final[Mapping[FailureKind, str]] = {
    FailureKind.BAD_ARGUMENTS: "argument_correctness",
    FailureKind.UNKNOWN_TOOL: "tool_correctness",
    FailureKind.LOOP: "step_efficiency",
    FailureKind.HAND_OFF: "step_efficiency",
}
_OTHERWISE: Final = "task_completion"
_JUDGES: Final = frozenset(
    {
        "argument_correctness", "coherence", "confidence", "plan_adherence", "plan_quality", "step_efficiency",
        "task_completion", "tool_correctness",
    }
)  # fmt: skip
"""PandaProbe's metrics of traces."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NextSteps:
    """Shell commands, ready to copy.

    Attributes:
        capture: Makes a test of a trace of the group, which fails as the trace did.
        dataset: Adds the trace to a dataset.
        monitor: Makes a monitor with a metric that such a failure lowers.
    """

    capture: str
    dataset: str
    monitor: str


def next_steps(
    kind: FailureKind, parts: Mapping[str, str], *, name: str, trace_id: str, options: Sequence[str] = ()
) -> NextSteps:
    """Return the next steps for a group of failures.

    trace_id: an example of the group.
    options: options to add to each command, such as the server's address.
    """
    metric = _METRICS.get(kind, _OTHERWISE)
    if kind is FailureKind.JUDGED and parts.get("metric") in _JUDGES:
        metric = parts["metric"]
    title = "".join(each for each in name if each.isprintable())[:200]
    monitor = (f"--name={title}", "--target-type=trace", f"--metric={metric}", "--cadence=daily")
    return NextSteps(
        capture=shlex.join(("pandaprobe-otel", "replay", "capture", trace_id, "--to=tests/", *options)),
        dataset=shlex.join(("pandaprobe-otel", "replay", "capture", trace_id, "--dataset=failures.jsonl", *options)),
        monitor=shlex.join(("pandaprobe-otel", "monitors", "create", *monitor, *options)),
    )
