"""Findings of a trace, by all rules in the order of rank, and traces grouped by them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
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
    place = {step.id: at for at, step in enumerate(read.spans)}
    found = [replace(one, marked=_mark_of(read, one)) for one in found]
    found.sort(key=lambda one: (one.recovered, RANK[one.kind], place.get(one.span_id or "", len(place))))
    unique: dict[str, Finding] = {}
    for finding in found:
        unique.setdefault(finding.fingerprint, finding)
    return list(unique.values())


def _mark_of(trace: TraceRecord, finding: Finding) -> str | None:
    """Return the fingerprint that the program set on the trace, the span, or the nearest ancestor with one."""
    step = trace.by_id.get(finding.span_id or "")
    holders = [trace, *(() if step is None else (step, *step.above))]
    return next(filter(None, (_mark(holder.metadata) for holder in holders)), None)


def _mark(metadata: Mapping[str, Any]) -> str | None:
    mark = metadata.get("fingerprint") or members(metadata.get("attributes")).get(_ATTRIBUTE)
    return mark[:_MAX_MARK] if isinstance(mark, str) and mark else None


Group = Sequence[tuple[Mapping[str, Any], Finding]]
"""Traces that failed alike, in their original order, each with its finding. The first finding names the group."""


def group_failures(traces: Iterable[Mapping[str, Any]]) -> list[Group]:
    """Return the groups of traces, those with most traces first. A trace with several failures is in several groups.

    Recovered failures do not count.
    """
    groups: dict[str, list[tuple[Mapping[str, Any], Finding]]] = {}
    for trace in traces:
        for finding in find_failures(trace):
            if not finding.recovered:
                groups.setdefault(finding.fingerprint, []).append((trace, finding))
    return sorted(groups.values(), key=len, reverse=True)
