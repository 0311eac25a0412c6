"""Two runs of the same cases: changed cases, and the spans that differ in their traces."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import zip_longest
from typing import Literal

from pandaprobe_otel.evals.report import CaseResult, Report
from pandaprobe_otel.traces.comparison import SpanPair, paired_spans
from pandaprobe_otel.traces.records import TraceRecord

Kind = Literal["lost", "won", "different", "same", "new", "gone"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TracePair:
    """Traces of the same run of a case. One may be missing."""

    before: TraceRecord | None
    after: TraceRecord | None
    spans: tuple[SpanPair, ...]

    @property
    def differing(self) -> int:
        """Number of spans that differ."""
        return sum(pair.change != "same" for pair in self.spans)


@dataclass(frozen=True, slots=True, kw_only=True)
class CasePair:
    """A case of both runs, or of only one."""

    id: str
    before: CaseResult | None
    after: CaseResult | None
    traces: tuple[TracePair, ...]

    @property
    def kind(self) -> Kind:
        """`lost`: it passed only before. `won`: it passes only now. `different`: something else has changed."""
        if self.before is None or self.after is None:
            return "new" if self.before is None else "gone"
        if self.before.passed != self.after.passed:
            return "lost" if self.before.passed else "won"
        verdicts = [[(one.metric, one.outcome) for one in case.results] for case in (self.before, self.after)]
        differs = verdicts[0] != verdicts[1] or self.before.output != self.after.output
        return "different" if differs or any(trace.differing for trace in self.traces) else "same"


def paired(before: Report, after: Report) -> list[CasePair]:
    """Return all cases of both reports, starting with those of the later one, in its order."""
    old, new = ({case.id: case for case in report.cases} for report in (before, after))
    names = [*new, *(name for name in old if name not in new)]
    return [_pair(name, old.get(name), new.get(name)) for name in names]


def _pair(name: str, before: CaseResult | None, after: CaseResult | None) -> CasePair:
    records = [() if case is None else case.records for case in (before, after)]
    return CasePair(id=name, before=before, after=after, traces=tuple(_traces(*pair) for pair in zip_longest(*records)))


def _traces(before: TraceRecord | None, after: TraceRecord | None) -> TracePair:
    return TracePair(before=before, after=after, spans=paired_spans(before, after))
