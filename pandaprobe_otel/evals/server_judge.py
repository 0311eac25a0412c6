"""PandaProbe's judges, on the server that has the traces."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from pandaprobe_otel.errors import PandaProbeError
from pandaprobe_otel.evals.judging import Allowance, Bench, Finding, Group, Judgement, Judgements, Question

if TYPE_CHECKING:
    from pandaprobe_otel.api import Client
    from pandaprobe_otel.api.models import EvalRun, Score
    from pandaprobe_otel.api.results import RunResult
    from pandaprobe_otel.evals.cache import JudgementCache

_PAUSE_S: Final = 0.4
_SPARE_S: Final = 2.0
UNDELIVERED_WITHIN_S: Final = 30.0
"""Seconds to look for traces even if not all of them were delivered in time."""


class ServerBench(Bench):
    """Judge that starts evaluation runs, as `Bench` describes.

    timeout_s: the timeout of a run.
    visible_within_s: the seconds until sent traces must be readable. Default: the timeout of a run.
    progress: called with each state of a run.
    """

    def __init__(
        self,
        client: Client,
        *,
        allowance: Allowance | None = None,
        timeout_s: float = 600.0,
        visible_within_s: float | None = None,
        cache: JudgementCache | None = None,
        say: Callable[[str], None] = lambda line: None,
        progress: bool | Callable[[EvalRun], None] | None = False,
    ) -> None:
        super().__init__(allowance=allowance, cache=cache, say=say)
        self._client = client
        self._timeout_s = timeout_s
        self._visible_within_s = timeout_s if visible_within_s is None else min(visible_within_s, timeout_s)
        self._progress = progress

    def _answers(self, group: Group) -> Judgements:
        from pandaprobe_otel.api.results import Pair

        result = self._run(group)
        given = {(score.target, score.name): score for score in result.scores}
        pairs = [(question.target, metric) for question in group.questions for metric in group.metrics]
        return {pair: _judgement(given.get(pair), result.vacuous.get(Pair(*pair))) for pair in pairs}

    def _run(self, group: Group) -> RunResult:
        targets = [question.target for question in group.questions]
        chosen: dict[str, Any] = {"session": targets} if group.session else {"traces": targets}
        run = self._client.evaluations.run(list(group.metrics), model=group.model, name="test suite", **chosen)
        return run.wait(self._timeout_s, progress=self._progress)

    def _readable(self, groups: Sequence[Group]) -> tuple[list[Group], Mapping[str, str]]:
        """Wait until the traces are readable, and remove those that are not.

        The server counts a missing trace as evaluated and gives it no score.
        """
        questions = [question for group in groups for question in group.questions]
        wanted = {trace: q for q in questions for trace in (q.traces if q.session else (q.target,))}
        missing: dict[str, str] = {}
        try:
            left = self._wait_visible(wanted)
            reason = f"PandaProbe does not have the trace {self._visible_within_s:g} s after it was sent"
        except PandaProbeError as error:
            left, reason = set(wanted), f"{type(error).__name__}: {error}"
        missing.update({wanted[trace].target: reason for trace in left})
        here = [replace(g, questions=tuple(q for q in g.questions if q.target not in missing)) for g in groups]
        return [group for group in here if group.questions], missing

    def _wait_visible(self, wanted: Mapping[str, Question]) -> set[str]:
        from datetime import timedelta

        left = set(wanted)
        if not left:
            return left
        starts = [question.started for question in wanted.values() if question.started is not None]
        window: dict[str, Any] = {}
        if len(starts) == len(wanted):
            window["started_after"] = min(starts) - timedelta(seconds=_SPARE_S)
        deadline = time.monotonic() + self._visible_within_s
        while True:
            left -= {str(trace.trace_id) for trace in self._client.traces.iter(**window)}
            if not left or time.monotonic() >= deadline:
                return left
            time.sleep(_PAUSE_S)


def _judgement(score: Score | None, vacuous: str | None) -> Judgement:
    if score is None:
        return Judgement(finding=Finding.ERROR, reason="the run gave no score: PandaProbe does not have the target")
    value, reason = score.parsed, score.reason or ""
    if score.status != "SUCCESS" or not isinstance(value, float):
        return Judgement(finding=Finding.ERROR, reason=reason or f"the metric is {score.status}")
    if vacuous is not None:
        return Judgement(finding=Finding.VACUOUS, value=value, reason=vacuous)
    return Judgement(finding=Finding.SCORED, value=value, reason=reason)
