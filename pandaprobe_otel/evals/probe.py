"""The fixture `probe`: the actions of the test's agent, and assertions about them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from pandaprobe_otel.evals.evidence import describe
from pandaprobe_otel.evals.judging import Finding, Judgement
from pandaprobe_otel.evals.outcome import Outcome
from pandaprobe_otel.evals.span_set import SpanSet
from pandaprobe_otel.evals.tree_text import tree_text
from pandaprobe_otel.evals.usage_limits import Budget

if TYPE_CHECKING:
    from pandaprobe_otel.evals.marker_options import Metrics
    from pandaprobe_otel.evals.recorder import Recording
    from pandaprobe_otel.evals.task_runs import Scorer
    from pandaprobe_otel.evals.traces import TraceRecord


class Services(Protocol):
    """Services of a probe beyond the spans, which depend on the mode."""

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
    """Scores that the test itself has given with `score`."""

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
        traces = self.traces
        over = Budget(tokens=tokens, cost=cost, seconds=seconds, llm_calls=llm_calls).over(traces)
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
            raise AssertionError(f"score {name!r}: the test made no trace to score")
        self._services.score(traces[-1].trace_id, name, value, reason)
        self.scores[name] = value

    def check(self, scorer: Scorer, *, expected: Any = None, threshold: float = 0.5, **metadata: Any) -> Judgement:
        """Assert that a metric of your own, or a ready-made one, gives the traces at least `threshold`.

        scorer: is called with a `TaskRun` of a case that has the input of the traces, `expected` and `metadata`; its
        output is that of the last trace. What it gives is kept, and sent, as by `score`.

        Raises AssertionError for a score below, and where there is none on evidence.
        """
        __tracebackhide__ = True
        from pandaprobe_otel.evals.probe_scoring import check

        name, found = check(scorer, self.traces, expected=expected, metadata=metadata)
        if found.finding is Finding.SCORED and found.value is not None:
            self.score(name, found.value, reason=found.reason or None)
        if found.outcome(threshold) is not Outcome.PASSED:
            raise AssertionError(f"{describe(name, found, threshold)}\n\n{self.tree}")
        return found

    def evaluate(self, metrics: Metrics | None = None) -> Mapping[str, Judgement]:
        """Judge the traces now and return the judgement of each metric (of several traces the worst).

        metrics: those of the marker when not given. Without `--pandaprobe=eval` the test is skipped here: it
        cannot go on without the numbers, and must not pass without them. Raises what `client.evaluations.run` does.
        """
        __tracebackhide__ = True
        return self._services.evaluate(self, metrics)
