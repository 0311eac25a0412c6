"""Groups of traces that failed in the same way and become one test."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from pandaprobe_otel.failures.find import find_failures
from pandaprobe_otel.replay.capture.findings import Finding, findings
from pandaprobe_otel.replay.capture.stored_trace import StoredTrace

Scores = Mapping[str, Sequence[Mapping[str, Any]]]
"""Latest scores of traces by trace id, in the form of the API."""

_NO_SCORES: Final[Scores] = MappingProxyType({})
_IN_FAILURES: Final = frozenset({"exception", "given out cut"})
"""Kinds of findings that the failures of a trace cover too."""


@dataclass(frozen=True, slots=True)
class Group:
    """Traces of one program that failed alike. The first one represents all."""

    traces: tuple[StoredTrace, ...]

    @property
    def first(self) -> StoredTrace:
        """The trace that becomes the test."""
        return self.traces[0]


def alike(traces: Iterable[StoredTrace], scores: Scores = _NO_SCORES) -> Sequence[Group]:
    """Return traces in groups with the same program, the same failure fingerprints and the same kinds of findings."""
    groups: dict[tuple[str, ...], list[StoredTrace]] = {}
    for trace in traces:
        groups.setdefault(_likeness(trace, scores), []).append(trace)
    return [Group(tuple(group)) for group in groups.values()]


def _likeness(trace: StoredTrace, scores: Scores) -> tuple[str, ...]:
    failed = find_failures(trace.body, scores.get(trace.trace_id, ()))
    marks = {one.fingerprint for one in failed if not one.recovered}
    # Deviations of the program from the model's requests, which only a test that runs the program can check.
    marks |= {f"{one.kind}: {_subject(one)}" for one in findings(trace) if one.kind not in _IN_FAILURES}
    return (trace.root.name, *(sorted(marks) or _tools(trace)))


def _tools(trace: StoredTrace) -> Iterable[str]:
    return dict.fromkeys(span.name for span in trace.spans if span.kind == "TOOL")


def _subject(finding: Finding) -> str:
    """Return the subject of a finding, without the values of this trace."""
    before, found, _ = finding.asserts.partition(".with_args")
    return re.sub(r"\d+", "…", before if found else re.sub(r"lambda span:.*", "", before))
