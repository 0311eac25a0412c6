"""Bounds on the tokens, money and time of traces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pandaprobe_otel.evals.span_set import SpanSet
from pandaprobe_otel.traces.records import TraceRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Bounds of traces together: tokens, US dollars, seconds, model calls. None: no bound."""

    tokens: int | None = None
    cost: float | None = None
    seconds: float | None = None
    llm_calls: int | None = None

    def over(self, traces: Sequence[TraceRecord]) -> list[str]:
        """Return the exceeded bounds, one per line.

        If no model call states its use, a bound on tokens or cost cannot be checked; the result then has a line about
        this.
        """
        calls, spans = SpanSet.of(traces).llm(), [span for trace in traces for span in trace.spans]
        found: list[str] = []
        sums: list[tuple[str, float | None, list[float | None]]] = [
            ("tokens", self.tokens, [span.tokens for span in spans]),
            ("cost", self.cost, [span.cost for span in spans]),
        ]
        for what, bound, values in sums:
            known = [value for value in values if value is not None]
            if bound is not None and calls and not known:
                found.append(f"{what}: no model call states its use, so the bound of {bound:g} cannot be checked")
            elif bound is not None and sum(known) > bound:
                found.append(f"{what}: {sum(known):g}, at most {bound:g} allowed")
        took = sum(trace.seconds for trace in traces)
        if self.seconds is not None and took > self.seconds:
            found.append(f"seconds: {took:.2f}, at most {self.seconds:g} allowed")
        if self.llm_calls is not None and len(calls) > self.llm_calls:
            found.append(f"model calls: {len(calls)}, at most {self.llm_calls} allowed")
        return found
