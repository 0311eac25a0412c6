"""Services for the fixture `probe` in a test run, depending on the mode."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import pytest

from pandaprobe_otel.evals.judging import Judgement, Question
from pandaprobe_otel.evals.marker_options import Demand, Metrics
from pandaprobe_otel.evals.probe import Probe

if TYPE_CHECKING:
    from pandaprobe_otel.evals.suite import ItemState, Suite


class Services:
    """Services for a probe in this mode."""

    def __init__(self, suite: Suite, state: ItemState) -> None:
        self._suite = suite
        self._state = state

    def score(self, trace_id: str, name: str, value: float | bool | str, reason: str | None) -> None:
        """Add a score to a trace. It is sent if the mode sends traces."""
        from pandaprobe_otel.capture.scores import score, score_body

        if self._suite.mode == "off":
            score_body(trace_id, name, value, reason=reason)  # refuses invalid scores, as the other modes do
        else:
            score(trace_id, name, value, reason=reason)

    def evaluate(self, probe: Probe, metrics: Metrics | None) -> Mapping[str, Judgement]:
        """Judge the traces of the test now. In any mode other than eval, skip the test here."""
        __tracebackhide__ = True
        if self._suite.mode != "eval":
            pytest.skip(
                f"probe.evaluate() needs the judge: run pytest with --pandaprobe=eval (the mode is {self._suite.mode})"
            )
        from pandaprobe_otel.evals.suite_judging import judge_now

        demand = self._state.demand or Demand.of()
        wanted = Demand.of(metrics=metrics) if metrics is not None else demand
        questions = [
            Question(
                target=trace.trace_id,
                metrics=tuple(wanted.metrics),
                model=demand.model,
                unfinished=trace.unfinished,
            )
            for trace in probe.traces
        ]
        return judge_now(questions, probe.traces, self._suite.connection)
