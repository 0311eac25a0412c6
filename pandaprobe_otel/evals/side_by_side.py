"""Two runs of the same cases: changed cases, and the spans that differ in their traces."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, Literal

from pandaprobe_otel.evals.behaviour import behaviour_text
from pandaprobe_otel.evals.report import CaseResult, Report
from pandaprobe_otel.evals.traces import SpanRecord, TraceRecord, walk
from pandaprobe_otel.local.pages.diff import DiffRow, diff_trees
from pandaprobe_otel.local.pages.tree import Node, Tree

Kind = Literal["lost", "won", "different", "same", "new", "gone"]

_EMPTY = {"input": None, "output": None, "error": None, "model": None, "status": "UNSET"}


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanPair:
    """A span of both traces, or of only one. `fields` are those that differ."""

    before: SpanRecord | None
    after: SpanRecord | None
    depth: int
    fields: tuple[str, ...] = ()

    @property
    def span(self) -> SpanRecord:
        """The span of the earlier run, or that of the later run if there is no other."""
        span = self.before or self.after
        assert span is not None
        return span

    @property
    def change(self) -> Literal["same", "changed", "left", "right"]:
        """Kind of the change: in both and equal, in both and changed, or in only one."""
        if self.before is None or self.after is None:
            return "right" if self.before is None else "left"
        return "changed" if self.fields else "same"


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


def paired_spans(before: TraceRecord | None, after: TraceRecord | None) -> tuple[SpanPair, ...]:
    """Return the spans of two traces, paired if they correspond to each other."""
    return tuple(map(_spans, diff_trees(_tree(before), _tree(after))))


def first_difference(traces: Iterable[Sequence[SpanPair]]) -> SpanPair | None:
    """Return the pair in which two runs diverge: the earliest one that differs by itself.

    A span does not count if only its output differs and a descendant differs too: it then passed the difference on. A
    span that is only shifted in time counts if no other span differs.
    """
    found = [pair for spans in traces for pair in _by_themselves(spans)]
    return min(found, key=lambda pair: (pair.fields == ("order",), pair.span.started), default=None)


def _by_themselves(spans: Sequence[SpanPair]) -> Iterator[SpanPair]:
    for place, pair in enumerate(spans):
        if pair.change == "same":
            continue
        below = (other for other in spans[place + 1 : _end_of(spans, place)] if other.change != "same")
        if pair.change != "changed" or {"input", "model"} & set(pair.fields) or next(below, None) is None:
            yield pair


def _end_of(spans: Sequence[SpanPair], place: int) -> int:
    depth = spans[place].depth
    after = range(place + 1, len(spans))
    return next((other for other in after if spans[other].depth <= depth), len(spans))


def _spans(row: DiffRow) -> SpanPair:
    left, right = (None if node is None else SpanRecord(node.span) for node in (row.left, row.right))
    shown = row.right or row.left
    fields = [name for name in row.fields if left and right and _differs(name, left, right)]
    return SpanPair(before=left, after=right, depth=shown.depth if shown else 0, fields=tuple(fields))


def _differs(field: str, left: SpanRecord, right: SpanRecord) -> bool:
    return field == "order" or _behaves(field, left) != _behaves(field, right)


def _behaves(field: str, span: SpanRecord) -> str:
    """Return a field without the ids that a provider gives to calls, which are new in every run."""
    return behaviour_text({field: span.body[field]})


def _tree(trace: TraceRecord | None) -> Tree:
    """Return a trace in the form that the pages of the local server compare."""
    rows: Sequence[Node] = [] if trace is None else [_node(depth, span) for depth, span in walk(trace)]
    return Tree(roots=(), rows=rows, length_ms=0.0, axis_ms=0.0)


def _node(depth: int, span: SpanRecord) -> Node:
    body: dict[str, Any] = {**_EMPTY, **span.body, "name": span.name, "kind": span.kind}
    return Node(span=body, depth=depth)
