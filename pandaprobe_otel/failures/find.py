"""Findings of a trace, by all rules in the order of rank, and traces grouped by them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from pandaprobe_otel.failures.broken_answers import answers
from pandaprobe_otel.failures.calls import circular_hand_offs, loops, unknown_tools
from pandaprobe_otel.failures.finding import RANK, Finding
from pandaprobe_otel.failures.low_scores import judged
from pandaprobe_otel.failures.span_errors import failed_spans
from pandaprobe_otel.traces.json_shapes import members
from pandaprobe_otel.traces.records import TraceRecord

_RULES: Final = (failed_spans, unknown_tools, loops, answers, circular_hand_offs)
_MAX_MARK: Final = 200
_ATTRIBUTE: Final = "pandaprobe.fingerprint"


def find_failures(trace: Mapping[str, Any], scores: Iterable[Mapping[str, Any]] = ()) -> list[Finding]:
    """Return the findings of a trace, highest rank first, one for each fingerprint.

    trace: a trace in the form of `GET /traces/{id}` or `POST /traces`.
    scores: the latest score of each name, in the form of the API.

    Any JSON is accepted, and nothing is raised. Findings with `recovered` are not failures.
    """
    read = TraceRecord(trace)
    found = [finding for rule in _RULES for finding in rule(read)]
    found += judged(read, scores)
    if not found:
        return []
    found = _marked(read, found)
    place = {step.id: at for at, step in enumerate(read.spans)}
    found.sort(key=lambda one: (one.recovered, RANK[one.kind], place.get(one.span_id or "", len(place))))
    unique: dict[str, Finding] = {}
    for finding in found:
        unique.setdefault(finding.fingerprint, finding)
    return list(unique.values())


def _marked(trace: TraceRecord, found: list[Finding]) -> list[Finding]:
    """Give findings the fingerprint that the program set on the trace, the span, or the nearest ancestor with one."""
    of_all = _mark(trace.metadata)
    marks = {step.id: mark for step in trace.spans if (mark := _mark(step.metadata)) is not None}
    if of_all is None and not marks:
        return found
    steps = {step.id: step for step in trace.spans}

    def mark_of(span_id: str | None) -> str | None:
        step = steps.get(span_id or "")
        around = () if step is None else (step, *step.above)
        return of_all or next((marks[one.id] for one in around if one.id in marks), None)

    return [replace(one, marked=mark_of(one.span_id)) for one in found]


def _mark(metadata: Mapping[str, Any]) -> str | None:
    mark = metadata.get("fingerprint") or members(metadata.get("attributes")).get(_ATTRIBUTE)
    return mark[:_MAX_MARK] if isinstance(mark, str) and mark else None


@dataclass(frozen=True, slots=True)
class Member:
    """A trace of a group, with its finding."""

    trace: Mapping[str, Any]
    finding: Finding


@dataclass(frozen=True, slots=True)
class Group:
    """Traces that failed alike, in their original order."""

    members: Sequence[Member]

    @property
    def first(self) -> Finding:
        """Finding that names the group."""
        return self.members[0].finding

    @property
    def fingerprint(self) -> str:
        """The group's identity."""
        return self.first.fingerprint


def group_failures(traces: Iterable[Mapping[str, Any]]) -> list[Group]:
    """Return the groups of traces, those with most traces first. A trace with several failures is in several groups.

    Recovered failures do not count.
    """
    members: dict[str, list[Member]] = {}
    for trace in traces:
        for finding in find_failures(trace):
            if not finding.recovered:
                members.setdefault(finding.fingerprint, []).append(Member(trace, finding))
    return sorted(map(Group, members.values()), key=lambda group: -len(group.members))
