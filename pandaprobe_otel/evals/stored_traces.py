"""Judging of traces and sessions that PandaProbe has already, with a report like that of `evaluate()`."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from pandaprobe_otel.config.resolve import Config
from pandaprobe_otel.errors import NotFound, WaitTimeout
from pandaprobe_otel.evals.confirmation import confirmed
from pandaprobe_otel.evals.evidence import Evidence
from pandaprobe_otel.evals.judging import Bench, Finding, Judgement, Judgements, Question, check_metrics
from pandaprobe_otel.evals.report import CaseResult, MetricResult, Report
from pandaprobe_otel.reporting.trace_links import trace_template
from pandaprobe_otel.traces.records import TraceRecord

if TYPE_CHECKING:
    from pandaprobe_otel.api import Client
    from pandaprobe_otel.api.models import Trace

_VISIBLE_WITHIN_S: Final = 30.0
_PAUSE_S: Final = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A trace or session to be judged, with its metrics. If `traces` is empty, it does not exist on the server."""

    id: str
    question: Question
    traces: tuple[TraceRecord, ...] = ()


def judge_stored(
    client: Client,
    bench: Bench,
    *,
    traces: Sequence[str] = (),
    sessions: Sequence[str] = (),
    thresholds: Mapping[str, float],
    model: str | None = None,
    answers: int = 1,
    allow_vacuous: bool = False,
    visible_within_s: float = _VISIBLE_WITHIN_S,
    pass_rate: float = 1.0,
) -> Report:
    """Judge traces and sessions by their ids and return the report, with a case for each.

    thresholds: metrics with their lowest passing scores. Metrics of sessions judge each session. Metrics of traces
    judge each trace, and each trace of each session.
    visible_within_s: the seconds, in total, until recently sent traces and sessions must be readable.

    Raises ValueError for unknown metrics and for targets that no metric judges, and the API's errors.
    """
    of_sessions = [metric.name for metric in client.evaluations.session_metrics() if metric.name in thresholds]
    of_traces = [name for name in thresholds if name not in of_sessions]
    check_metrics(client, of_traces=of_traces)
    if of_sessions and not sessions:
        raise ValueError(f"{of_sessions[0]} judges sessions, but no session is given")
    if traces and not of_traces:
        raise ValueError(f"{of_sessions[0]} judges sessions, but no metric judges the given traces")
    wait = _Wait(time.monotonic() + visible_within_s)
    found = [_trace(client, name, of_traces, model, wait) for name in traces]
    for name in sessions:
        found += _session(client, name, of_sessions, of_traces, model, wait)
    unique = list({(stored.id, stored.question.session): stored for stored in found}.values())
    there = [stored.question for stored in unique if stored.traces]
    judgements = confirmed(bench, there, bench.judge(there), thresholds, answers=answers)
    return Report(
        name="traces and sessions" if traces and sessions else "sessions" if sessions else "traces",
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        cases=tuple(_case(stored, judgements, thresholds, allow_vacuous) for stored in unique),
        pass_rate=pass_rate,
        trace_url=trace_template(client.credentials.endpoint, named=Config.resolve().trace_url),
    )


class _Wait:
    """A common deadline for all waits."""

    def __init__(self, deadline: float) -> None:
        self._deadline = deadline

    @property
    def left_s(self) -> float:
        return max(self._deadline - time.monotonic(), 0.0)


def _trace(client: Client, name: str, metrics: Sequence[str], model: str | None, wait: _Wait) -> Stored:
    try:
        record = _record(client.traces.wait_visible(name, wait.left_s))
    except WaitTimeout:
        return Stored(id=name, question=Question(target=name, metrics=tuple(metrics)))
    return _stored(record, metrics, model)


def _session(
    client: Client, name: str, of_sessions: Sequence[str], of_traces: Sequence[str], model: str | None, wait: _Wait
) -> list[Stored]:
    records: list[TraceRecord] = []
    while True:
        try:
            records = [_record(trace) for trace in client.sessions.get(name).traces]
            break
        except NotFound:
            if not wait.left_s:
                break
            time.sleep(min(_PAUSE_S, wait.left_s))
    unfinished = next((outcome for record in records if (outcome := record.unfinished)), None)
    metrics = tuple(of_sessions or of_traces)
    whole = Question(target=name, metrics=metrics, session=True, model=model, unfinished=unfinished)
    found = [Stored(id=name, question=whole, traces=tuple(records))] if of_sessions or not records else []
    return found + [_stored(record, of_traces, model) for record in records if of_traces]


def _stored(record: TraceRecord, metrics: Sequence[str], model: str | None) -> Stored:
    question = Question(
        target=record.trace_id,
        metrics=tuple(metrics),
        model=model,
        content=record.content_hash,
        started=datetime.fromisoformat(str(record.body["started_at"])),
        unfinished=record.unfinished,
    )
    return Stored(id=record.trace_id, question=question, traces=(record,))


def _record(trace: Trace) -> TraceRecord:
    body: dict[str, Any] = trace.model_dump(mode="json")
    return TraceRecord(body)


def _case(stored: Stored, found: Judgements, thresholds: Mapping[str, float], allow_vacuous: bool) -> CaseResult:
    absent = Judgement(finding=Finding.ERROR, reason="this project of PandaProbe does not have it")
    return CaseResult(
        id=stored.id,
        input=stored.traces[0].input if stored.traces else None,
        output=stored.traces[-1].output if stored.traces else None,
        seconds=sum(trace.seconds for trace in stored.traces),
        results=tuple(
            MetricResult.of(
                metric,
                Evidence.of_one(found.get((stored.question.target, metric), absent), allow_vacuous=allow_vacuous),
                thresholds[metric],
            )
            for metric in stored.question.metrics
        ),
        traces=tuple(trace.body for trace in stored.traces),
    )
