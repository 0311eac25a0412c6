"""Traces grouped by their failures, without a store."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pandaprobe_otel.failures.find import find_failures
from pandaprobe_otel.failures.finding import Finding


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
