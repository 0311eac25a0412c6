"""A recorded run and its forks side by side, as text: first difference, spans, totals, verdicts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from pandaprobe_otel.evals.report import CaseResult, Report
from pandaprobe_otel.evals.report_comparison import CasePair, paired, sums
from pandaprobe_otel.replay.divergence import calls, changed_lines, counted
from pandaprobe_otel.replay.fork.forked_run import RerunOptions
from pandaprobe_otel.replay.fork.rerun import Forks, Reruns
from pandaprobe_otel.traces.comparison import first_difference
from pandaprobe_otel.traces.text import plain_text, span_line

_MARKS: Final = {"same": "=", "changed": "~", "left": "-", "right": "+"}
_ALONE: Final = {"left": ", recorded only", "right": ", in the fork only"}
_MAX_SPANS: Final = 200


def fork_text(forks: Forks) -> str:
    """Return how the forks differ. The text shows the spans of the first fork and the verdicts of all."""
    pairs = paired(forks.before, forks.after)
    shown = next((pair for pair in pairs if pair.differing), pairs[0])
    lines = [
        *_head(forks),
        *_first_difference(shown),
        *_spans(shown),
        *_sums(forks.before, forks.after),
        *_verdicts(forks),
    ]
    lines += [f"kept in {path}" for path in forks.kept_in]
    return plain_text("\n".join(lines))


def reruns_text(reruns: Reruns) -> str:
    """Return the paired comparison of several recorded runs with their forks."""
    forks, comparison = list(reruns.forks.values()), reruns.comparison
    every = [one for each in forks for requests in each.calls for one in requests]
    sent = sum(not one.played for one in every)
    lines = [
        _title(reruns.after.name, forks[0].options),
        f"  {counted(len(forks), 'recorded run')}, {counted(len(every) - sent, 'call')} played, {sent} sent",
        "",
        *map(str, comparison.by_weight),
        *comparison.remarks,
        *_sums(reruns.before, reruns.after),
        "",
        *(f"{case.id}: {_verdict(case)}" for case in reruns.after.cases if not case.passed),
        *(f"{name}: not run again: {why}" for name, why in reruns.refused.items()),
        *(f"kept in {path}" for each in forks for path in each.kept_in),
    ]
    return plain_text("\n".join(lines))


def _title(name: str, options: RerunOptions) -> str:
    changes = [f"model {options.model}"] if options.model else []
    changes += ["another prompt"] if options.prompt is not None else []
    start = f"from {options.span}" if options.span else "from its first call"
    return f"fork of {name} {start}{', ' if changes else ''}{' and '.join(changes)}"


def _head(forks: Forks) -> Iterator[str]:
    yield _title(forks.after.name, forks.options)
    if forks.cut.gone:
        yield f"  recorded from there on: {calls(forks.cut.gone)}"
    for number, requests in enumerate(forks.calls, 1):
        sent = sum(not one.played for one in requests)
        which = f"fork {number}: " if len(forks.calls) > 1 else ""
        yield f"  {which}{counted(len(requests) - sent, 'call')} played, {sent} sent"


def _first_difference(pair: CasePair) -> Iterator[str]:
    yield ""
    first = first_difference(pair.traces)
    if first is None:
        yield "no difference"
        return
    yield f"first difference: {first.span.kind} {first.span.name}{_ALONE.get(first.change, '')}"
    if first.before is not None and first.after is not None:
        for name in first.fields:
            yield f"  {name}"
            if name == "order":
                continue
            yield from changed_lines(first.before.body.get(name), first.after.body.get(name))


def _spans(pair: CasePair) -> Iterator[str]:
    rows = [row for spans in pair.traces for row in spans]
    yield ""
    yield f"spans (- recorded, + {pair.id}, ~ differs)"
    for row in rows[:_MAX_SPANS]:
        fields = f"  [{', '.join(row.fields)}]" if row.fields else ""
        yield f"  {_MARKS[row.change]} {'  ' * row.depth}{span_line(row.after or row.span)}{fields}"
    if len(rows) > _MAX_SPANS:
        yield f"  and {len(rows) - _MAX_SPANS} more"


def _sums(before: Report, after: Report) -> Iterator[str]:
    rows = [row for row in sums(before, after) if row[0] != "seconds"]  # played answers take no time
    if rows:
        yield ""
    of_runs = f" of {len(after.cases)} runs" if len(after.cases) > 1 else ""
    for name, old, new, change in rows:
        yield f"{name}{of_runs}: {old or '?'} → {new or '?'}{f' ({change})' if change else ''}"


def _verdicts(forks: Forks) -> Iterator[str]:
    before = forks.before.cases[0]
    yield ""
    yield f"recorded: {_verdict(before)}"
    if len(forks.after.cases) == 1:
        yield f"fork: {_verdict(forks.after.cases[0])}"
        return
    yield f"forks: {forks.after.rate}"
    for case in forks.after.cases:
        yield f"  {case.id}: {_verdict(case)}"
    if before.results:
        yield from (f"  {change}" for change in forks.comparison.by_weight)
        yield "  (the recorded run is a single sample: repeated runs might vary)"


def _verdict(case: CaseResult) -> str:
    if case.error is not None:
        return f"failed: {case.error}"
    return "; ".join(result.text for result in case.results) or "ran to the end"
