"""Services that the fixture `probe` may use in a test run, by its mode."""

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
    """Services that a probe may use in this mode."""

    def __init__(self, suite: Suite, state: ItemState) -> None:
        self._suite = suite
        self._state = state

    def score(self, trace_id: str, name: str, value: float | bool | str, reason: str | None) -> None:
        """Give a trace a score, which is sent where traces are."""
        from pandaprobe_otel.capture.scores import score, score_body

        if self._suite.mode == "off":
            score_body(trace_id, name, value, reason=reason)  # refuses what is no score, as the other modes do
        else:
            score(trace_id, name, value, reason=reason)

    def evaluate(self, probe: Probe, metrics: Metrics | None) -> Mapping[str, Judgement]:
        """Judge the traces of the test now; without the mode eval the test is skipped here."""
        __tracebackhide__ = True
        if self._suite.mode != "eval":
            pytest.skip(f"probe.evaluate() needs the judge: the mode is {self._suite.mode}, not eval")
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
