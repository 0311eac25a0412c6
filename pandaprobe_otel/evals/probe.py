"""The fixture `probe`: what the test's agent did, and what to think of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from pandaprobe_otel.evals.span_set import SpanSet
from pandaprobe_otel.evals.tree_text import tree_text

if TYPE_CHECKING:
    from pandaprobe_otel.evals.demand import Metrics
    from pandaprobe_otel.evals.judging import Judgement
    from pandaprobe_otel.evals.recorder import Recording
    from pandaprobe_otel.evals.traces import TraceRecord


class Services(Protocol):
    """What a probe needs beyond the spans: these depend on the mode."""

    def score(self, trace_id: str, name: str, value: float | bool | str, reason: str | None) -> None:
        """Give a trace a score."""
        ...

    def evaluate(self, probe: Probe, metrics: Metrics | None) -> Mapping[str, Judgement]:
        """Judge the traces now."""
        ...


@dataclass(frozen=True, repr=False)
class Probe:
    """The traces of a test, also of its other threads and tasks, as far as their spans have ended."""

    _recording: Recording
    _services: Services
    scores: dict[str, float | bool | str]
    """What the test itself has given with `score`."""

    def __repr__(self) -> str:
        return f"<probe: {self._recording.count} spans>"

    @property
    def traces(self) -> tuple[TraceRecord, ...]:
        """The traces, in the order of their starts."""
        return self._recording.traces()

    @property
    def spans(self) -> SpanSet:
        """All spans; see `SpanSet` for what can be asserted."""
        return SpanSet.of(self.traces)

    @property
    def llm_calls(self) -> SpanSet:
        """The model calls."""
        return self.spans.llm()

    @property
    def input(self) -> Any:
        """The input of the last trace; of a conversation its last user message. None without a trace."""
        traces = self.traces
        return traces[-1].input if traces else None

    @property
    def output(self) -> Any:
        """The output of the last trace; of a conversation its last assistant message. None without a trace."""
        traces = self.traces
        return traces[-1].output if traces else None

    @property
    def tree(self) -> str:
        """The traces as text, to print."""
        return tree_text(self.traces)

    def budget(
        self,
        *,
        tokens: int | None = None,
        cost: float | None = None,
        seconds: float | None = None,
        llm_calls: int | None = None,
    ) -> None:
        """Assert that the traces together stay within these bounds: tokens, US dollars, seconds, model calls.

        A bound on tokens or cost cannot be checked when there were model calls and none of them says what it used;
        that fails too, and does not pass in silence.
        """
        __tracebackhide__ = True
        traces, calls = self.traces, self.llm_calls
        spans = [span for trace in traces for span in trace.spans]
        over: list[str] = []
        sums: list[tuple[str, float | None, list[float | None]]] = [
            ("tokens", tokens, [span.tokens for span in spans]),
            ("cost", cost, [span.cost for span in spans]),
        ]
        for what, bound, values in sums:
            known = [value for value in values if value is not None]
            if bound is not None and calls and not known:
                over.append(f"{what}: no model call says what it used, so the bound of {bound:g} cannot be checked")
            elif bound is not None and sum(known) > bound:
                over.append(f"{what}: {sum(known):g}, at most {bound:g} allowed")
        took = sum(trace.seconds for trace in traces)
        if seconds is not None and took > seconds:
            over.append(f"seconds: {took:.2f}, at most {seconds:g} allowed")
        if llm_calls is not None and len(calls) > llm_calls:
            over.append(f"model calls: {len(calls)}, at most {llm_calls} allowed")
        if over:
            raise AssertionError("over budget\n  " + "\n  ".join(over) + f"\n\n{tree_text(traces)}")

    def score(self, name: str, value: float | bool | str, *, reason: str | None = None) -> None:
        """Give the last trace a score: a number from 0 to 1, True or False, or a label.

        It is sent with `--pandaprobe=record` or `eval`, and always kept in `scores`. Raises AssertionError without
        a trace, InvalidRequest for what is no score.
        """
        __tracebackhide__ = True
        traces = self.traces
        if not traces:
            raise AssertionError(f"score {name!r}: no trace was made that could be scored")
        self._services.score(traces[-1].trace_id, name, value, reason)
        self.scores[name] = value

    def evaluate(self, metrics: Metrics | None = None) -> Mapping[str, Judgement]:
        """Judge the traces now and return the judgement of each metric (of several traces the worst).

        metrics: those of the marker when not given. Without `--pandaprobe=eval` the test is skipped here: it
        cannot go on without the numbers, and must not pass without them. Raises what `client.evaluations.run` does.
        """
        __tracebackhide__ = True
        return self._services.evaluate(self, metrics)
