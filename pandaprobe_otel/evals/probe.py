"""The fixture `probe`: the actions of the tested agent, and assertions about them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pandaprobe_otel.capture.scores import score as send
from pandaprobe_otel.evals.span_set import Budget, SpanSet
from pandaprobe_otel.evals.verdicts import Finding, Judgement, Outcome
from pandaprobe_otel.traces.text import tree_text

if TYPE_CHECKING:
    from pandaprobe_otel.evals.recorder import Recording
    from pandaprobe_otel.evals.task_runs import Scorer
    from pandaprobe_otel.traces.records import TraceRecord


@dataclass(frozen=True, repr=False)
class Probe:
    """Traces of a test, including those of its threads and tasks, as far as their spans have ended."""

    _recording: Recording
    scores: dict[str, float | bool | str]
    """Scores that the test itself has added with `score`."""

    def __repr__(self) -> str:
        return f"<probe: {self._recording.count} spans>"

    @property
    def traces(self) -> tuple[TraceRecord, ...]:
        """The test's traces, ordered by start."""
        return self._recording.traces()

    @property
    def spans(self) -> SpanSet:
        """All spans; see `SpanSet` for the assertions."""
        return SpanSet.of(self.traces)

    @property
    def llm_calls(self) -> SpanSet:
        """The model calls."""
        return self.spans.llm()

    @property
    def input(self) -> Any:
        """Input of the last trace; for a conversation, its last user message. None without a trace."""
        traces = self.traces
        return traces[-1].input if traces else None

    @property
    def output(self) -> Any:
        """Output of the last trace; for a conversation, its last assistant message. None without a trace."""
        traces = self.traces
        return traces[-1].output if traces else None

    @property
    def tree(self) -> str:
        """The traces as text, for printing."""
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

        If no model call states its use, a bound on tokens or cost cannot be checked; the assertion then fails.
        """
        __tracebackhide__ = True
        traces = self.traces
        over = Budget(tokens=tokens, cost=cost, seconds=seconds, llm_calls=llm_calls).over(traces)
        if over:
            raise AssertionError("over budget\n  " + "\n  ".join(over) + f"\n\n{tree_text(traces)}")

    def cache_share(self, *, min: float) -> float:
        """Assert that at least this share (0 to 1) of the prompt tokens was read from the provider's prompt cache.

        Returns the share. A failure names what made the cache useless: the first changed region of each request. If no
        model call states its tokens, the share cannot be checked; the assertion then fails.
        """
        __tracebackhide__ = True
        from pandaprobe_otel.traces.prompt_cache import cache_faults, cache_share

        share = cache_share(self.traces)
        if share is None:
            raise AssertionError(f"prompt cache: no model call states its tokens\n\n{self.tree}")
        if share < min:
            faults = "".join(f"\n  {fault}" for fault in cache_faults(self.traces))
            wanted = f"prompt cache: {share:.0%} of the prompt tokens, at least {min:.0%} wanted"
            raise AssertionError(f"{wanted}{faults}\n\n{self.tree}")
        return share

    def score(self, name: str, value: float | bool | str, *, reason: str | None = None) -> None:
        """Add a score to the last trace: a number from 0 to 1, True or False, or a label.

        The score is always in `scores`, and is sent with `--pandaprobe=record` or `eval`. Raises AssertionError without
        a trace, and InvalidRequest for an invalid score.
        """
        __tracebackhide__ = True
        traces = self.traces
        if not traces:
            raise AssertionError(f"score {name!r}: the test has no trace to score")
        send(traces[-1].trace_id, name, value, reason=reason)
        self.scores[name] = value

    def check(self, scorer: Scorer, *, expected: Any = None, threshold: float = 0.5, **metadata: Any) -> Judgement:
        """Assert that a scorer of yours, or a ready-made one, gives the traces at least `threshold`.

        scorer: called with a `TaskRun` whose case has the input of the traces, `expected` and `metadata`, and whose
        output is that of the last trace. The result is kept and sent as by `score`.

        Raises AssertionError if the score is lower, or if there is no score with evidence.
        """
        __tracebackhide__ = True
        from pandaprobe_otel.evals.dataset import Case
        from pandaprobe_otel.evals.task_runs import TaskRun, check_scorer, scored, scorer_name

        name, traces, found = scorer_name(scorer), self.traces, Judgement.vacuous("no trace was made")
        check_scorer(name, scorer)
        if traces:
            case = Case(id="test", input=traces[0].input, expected=expected, metadata=metadata)
            run = TaskRun.of_traces("test", traces, case=case)
            # In a thread, since both the scorer and the test may be coroutine functions.
            with ThreadPoolExecutor(1, thread_name_prefix="pandaprobe-check") as pool:
                found = pool.submit(copy_context().run, scored, scorer, run).result()
        if found.finding is Finding.SCORED and found.value is not None:
            self.score(name, found.value, reason=found.reason or None)
        if found.outcome(threshold) is not Outcome.PASSED:
            raise AssertionError(f"{found.text(name, threshold)}\n\n{self.tree}")
        return found
