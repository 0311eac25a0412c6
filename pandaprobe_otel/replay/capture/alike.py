"""Many traces at once: those that failed in the same way are one test."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from pandaprobe_otel.replay.capture.findings import Finding, findings
from pandaprobe_otel.replay.capture.stored import StoredTrace

_WORDS: Final = re.compile(r"\b\d+\b")


@dataclass(frozen=True, slots=True)
class Group:
    """Traces of one program that failed alike; the first one stands for all."""

    traces: tuple[StoredTrace, ...]

    @property
    def first(self) -> StoredTrace:
        """The trace that a test is made of."""
        return self.traces[0]


def alike(traces: Iterable[StoredTrace]) -> Sequence[Group]:
    """Return traces in groups: same program, same tools in the same order of first use, same kinds of failure."""
    groups: dict[tuple[str, ...], list[StoredTrace]] = {}
    for trace in traces:
        groups.setdefault(_likeness(trace), []).append(trace)
    return [Group(tuple(group)) for group in groups.values()]


def _likeness(trace: StoredTrace) -> tuple[str, ...]:
    tools = dict.fromkeys(span.name for span in trace.in_order if span.kind == "TOOL")
    failed = sorted({f"{one.kind}: {_WORDS.sub('…', _subject(one))}" for one in findings(trace)})
    return (trace.root.name, *tools, *failed)


def _subject(finding: Finding) -> str:
    """Return the subject of a finding, without the values of this trace."""
    before, found, _ = finding.asserts.partition(".with_args")
    return before if found else re.sub(r"lambda span:.*", "", before)
