"""Groups of traces that failed alike, by the fingerprints of what failed in them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pandaprobe_otel.failures.find import find_failures
from pandaprobe_otel.failures.finding import Finding


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureGroup:
    """Traces that failed alike, the latest first; the finding is the latest trace's."""

    finding: Finding
    traces: tuple[Mapping[str, Any], ...]

    @property
    def releases(self) -> Sequence[str]:
        """The releases that have it, the latest first."""
        return list(dict.fromkeys(str(one["release"]) for one in self.traces if one.get("release")))

    @property
    def last_seen(self) -> str:
        """Start of the latest trace."""
        return str(self.traces[0].get("started_at"))


def grouped(traces: Iterable[tuple[Mapping[str, Any], Sequence[Mapping[str, Any]]]]) -> list[FailureGroup]:
    """Return the groups of traces, which come with their scores and the latest first; the largest group first."""
    found: dict[str, list[tuple[Finding, Mapping[str, Any]]]] = {}
    for trace, scores in traces:
        for finding in find_failures(trace, scores):
            if not finding.recovered:
                found.setdefault(finding.fingerprint, []).append((finding, trace))
    groups = [
        FailureGroup(finding=members[0][0], traces=tuple(trace for _, trace in members)) for members in found.values()
    ]
    return sorted(groups, key=lambda group: -len(group.traces))
