"""Suspects: signs of a problem in a trace without a failed span."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pandaprobe_otel.compact.fences import inert, inert_value
from pandaprobe_otel.compact.span_lines import kind_of, some_ranges
from pandaprobe_otel.compact.values import clipped, one_line, tokens_in
from pandaprobe_otel.failures.find import find_failures
from pandaprobe_otel.replay.capture.findings import findings
from pandaprobe_otel.replay.capture.stored_trace import StoredTrace
from pandaprobe_otel.traces.prompt_cache import cache_faults
from pandaprobe_otel.traces.records import SpanRecord, TraceRecord

_MOST_SPANS: Final = 300
"""Maximum number of spans for which the program's actions are compared with the model's requests, since that takes
quadratic time.
"""


_LEAST: Final = 48
"""Minimum number of tokens of a suspect."""


@dataclass(frozen=True, slots=True)
class Suspect:
    """A sign of a problem, and the spans that show it; without spans, it concerns the whole trace."""

    sign: str
    spans: tuple[SpanRecord, ...] = ()

    @property
    def place(self) -> str:
        """Place of the sign: `#4 tool refund`, or several numbers."""
        if not self.spans:
            return "trace"
        first = self.spans[0]
        return f"{some_ranges(span.number for span in self.spans)} {kind_of(first)} {first.name}"


def suspects(trace: TraceRecord, scores: Sequence[Mapping[str, Any]] = ()) -> list[Suspect]:
    """Return the suspects of a trace, the most informative first. `scores` are the latest of each name."""
    found = [*_of_the_program(trace), *_by_rules(trace, scores), *_unfinished(trace), *_silent(trace)]
    return found + [Suspect(f"prompt cache: {fault}", (fault.span,)) for fault in cache_faults([trace])]


def suspect_lines(found: Sequence[Suspect], tokens: int) -> list[str]:
    """Return the suspects of a trace without a failure, in at most this many tokens."""
    each = max(tokens // max(len(found), 1), _LEAST)
    lines: list[str] = []
    for place, suspect in enumerate(found):
        line = clipped(f"SUSPECT {one_line(suspect.place)}: {one_line(suspect.sign)}", each)
        cost = tokens_in(line) + 1
        if cost > tokens and lines:
            return [*lines, f"and {len(found) - place} more signs"]
        tokens -= cost
        lines.append(line)
    return lines


def _of_the_program(trace: TraceRecord) -> Iterator[Suspect]:
    """Yield the program's deviations from its model's requests."""
    if not trace.tree:
        return
    if len(trace.tree) > _MOST_SPANS:
        yield Suspect(f"not compared with the model's requests: over {_MOST_SPANS} spans")
        return
    stored = StoredTrace(trace.body)
    try:
        found = findings(stored)
        calls = [span.body for span in stored.model_calls]
    except (ValueError, TypeError, KeyError, AttributeError):  # Traces of other senders may have any form.
        return
    for one in found:
        call = _named(trace, calls[one.after - 1].get("span_id")) if 0 < one.after <= len(calls) else ()
        yield Suspect(inert(one.told), call)


def _by_rules(trace: TraceRecord, scores: Sequence[Mapping[str, Any]]) -> Iterator[Suspect]:
    for finding in find_failures(trace.body, inert_value(list(scores))):
        if not finding.recovered:
            text = f": {finding.text}" if finding.text and finding.text not in finding.title else ""
            yield Suspect(f"{finding.kind} · {finding.title}{text}", _named(trace, finding.span_id))


def _named(trace: TraceRecord, span_id: object) -> tuple[SpanRecord, ...]:
    return tuple(span for span in trace.tree if span_id and span.body.get("span_id") == span_id)[:1]


def _unfinished(trace: TraceRecord) -> Iterator[Suspect]:
    found = [span for span in trace.tree if span.outcome is not None]
    if found:
        yield Suspect(f"{found[-1].outcome}", tuple(found))


def _silent(trace: TraceRecord) -> Iterator[Suspect]:
    found = [
        span
        for span in trace.tree
        if kind_of(span) in ("tool", "retriever") and not span.failed and span.output in (None, "", [], {})
    ]
    if found:
        yield Suspect("a call without a result", tuple(found))
