"""The judge's part of a test run: questions about the runs, and their answers."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from pandaprobe_otel.errors import ConfigError
from pandaprobe_otel.evals.confirmation import Doubt, confirm
from pandaprobe_otel.evals.judging import Bench, Finding, Judgement, Judgements, Question
from pandaprobe_otel.evals.progress import Show, judged
from pandaprobe_otel.evals.server_judge import UNDELIVERED_WITHIN_S, ServerBench
from pandaprobe_otel.evals.suite_runs import TestRun
from pandaprobe_otel.traces.records import TraceRecord

if TYPE_CHECKING:
    from pandaprobe_otel.evals.suite_connection import Connection


def judge_runs(
    runs: Sequence[TestRun],
    connection: Connection,
    *,
    say: Callable[[str], None],
    show: Show,
    problems: Sequence[str],
) -> Judgements:
    """Judge every trace or session of these runs, in one evaluation run for each set of metrics."""
    asked = [(run, question) for run in runs for question in _questions(run)]
    questions = [question for _, question in asked]
    with _bench(connection, _traces_of(runs), say=say, show=show, delivered=not problems) as bench:
        found = bench.judge(questions)
        doubts = [doubt for run, question in asked for doubt in _doubts(run, question, found)]
        if doubts:
            say(f"{len(doubts)} × no: the judge is asked again")
            found |= confirm(bench, doubts)
    return _with_problems(found, problems)


def judge_now(
    questions: Sequence[Question], traces: Sequence[TraceRecord], connection: Connection
) -> Mapping[str, Judgement]:
    """Judge the traces of a test that waits for the numbers. Of several traces, the worst judgement counts."""
    problem = connection.flush()
    if problem and connection.judge is None:
        raise ConfigError(f"the traces of this test could not be sent: {problem}")
    with _bench(connection, {trace.trace_id: [trace] for trace in traces}) as bench:
        found = bench.judge(questions)
    if connection.judge is not None:
        from pandaprobe_otel.evals.local_judge import send_scores

        send_scores(found)
    worst: dict[str, Judgement] = {}
    for (_, metric), judgement in found.items():
        known = worst.get(metric)
        if known is None or _rank(judgement) < _rank(known):
            worst[metric] = judgement
    return worst


@contextmanager
def _bench(
    connection: Connection,
    traces: Mapping[str, Sequence[TraceRecord]],
    *,
    say: Callable[[str], None] = lambda line: None,
    show: Show = lambda tally: None,
    delivered: bool = True,
) -> Generator[Bench]:
    """Yield the judge: the named model, or the server."""
    if connection.judge is not None:
        from pandaprobe_otel.evals.local_judge import LocalBench

        with closing(connection.judge.open()) as judge:
            cache = connection.caches.of(connection.judge.name)
            yield LocalBench(judge, traces, allowance=connection.allowance, cache=cache, say=say, show=show)
        return
    with connection.client() as client:
        yield ServerBench(
            client,
            allowance=connection.allowance,
            timeout_s=connection.timeout_s,
            visible_within_s=None if delivered else UNDELIVERED_WITHIN_S,
            cache=connection.caches.of(client.credentials.endpoint),
            say=say,
            progress=lambda run: show(judged(run)),
        )


def _traces_of(runs: Sequence[TestRun]) -> dict[str, list[TraceRecord]]:
    """Return the traces by the id of the judged target: a trace or a session."""
    found: dict[str, list[TraceRecord]] = {}
    for run in runs:
        for trace in run.traces:
            target = trace.session_id if run.demand.session else trace.trace_id
            if trace.body is not None and target is not None:
                found.setdefault(target, []).append(TraceRecord(trace.body))
    return found


def _rank(judgement: Judgement) -> tuple[int, float]:
    order = (Finding.ERROR, Finding.VACUOUS, Finding.SCORED)
    finding = judgement.finding
    if judgement.unfinished is not None and finding is Finding.SCORED:
        finding = Finding.VACUOUS
    return order.index(finding), judgement.value or 0.0


def _questions(run: TestRun) -> list[Question]:
    metrics, model = tuple(run.demand.metrics), run.demand.model
    if run.demand.session:
        unfinished = {trace.session_id: trace.unfinished for trace in run.traces if trace.unfinished is not None}
        return [
            Question(
                target=target,
                metrics=metrics,
                session=True,
                model=model,
                unfinished=unfinished.get(target),
                started=min(datetime.fromisoformat(trace.started_at) for trace in run.traces),
                traces=tuple(trace.trace_id for trace in run.traces if trace.session_id == target),
            )
            for target in run.targets
        ]
    return [
        Question(
            target=trace.trace_id,
            metrics=metrics,
            model=model,
            content=trace.content,
            started=datetime.fromisoformat(trace.started_at),
            unfinished=trace.unfinished,
        )
        for trace in run.traces
    ]


def _doubts(run: TestRun, question: Question, found: Judgements) -> list[Doubt]:
    if run.demand.confirm == 1:
        return []
    doubts: list[Doubt] = []
    for metric, threshold in run.demand.metrics.items():
        first = found.get((question.target, metric))
        if first is not None and first.is_no(threshold):
            doubts.append(
                Doubt(question=question, metric=metric, threshold=threshold, answers=run.demand.confirm, first=first)
            )
    return doubts


def _with_problems(found: Judgements, problems: Sequence[str]) -> Judgements:
    """Use the delivery's problem as the reason for traces that did not arrive."""
    if not problems:
        return found
    trouble = "; ".join(dict.fromkeys(problems))
    return {
        key: replace(judgement, reason=f"{judgement.reason} ({trouble})")
        if judgement.finding is Finding.ERROR
        else judgement
        for key, judgement in found.items()
    }
