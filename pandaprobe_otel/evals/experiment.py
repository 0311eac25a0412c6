"""`evaluate()`: run a task over a dataset, trace it, judge all traces in one batch, and report. Needs no pytest.

`judge_stored()` judges traces and sessions that PandaProbe has already.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from os import PathLike
from typing import TYPE_CHECKING, Any, Final

from pandaprobe_otel.errors import ConfigError, NotFound
from pandaprobe_otel.evals.dataset import Dataset, load_cases
from pandaprobe_otel.evals.judging import JudgementCache, Judgements, Judging, errors
from pandaprobe_otel.evals.local_judge import LocalJudge, send_scores
from pandaprobe_otel.evals.progress import shown
from pandaprobe_otel.evals.report import EvaluationStopped, Report
from pandaprobe_otel.evals.simulation import Simulation
from pandaprobe_otel.evals.task_runs import (
    Asking,
    Scorer,
    TaskRun,
    Trial,
    case_result,
    questions_of,
    run_cases,
    sorted_metrics,
)
from pandaprobe_otel.evals.verdicts import Demand, Repetition, limits_of, share, whole
from pandaprobe_otel.reporting.trace_links import trace_template
from pandaprobe_otel.traces.records import TraceRecord

if TYPE_CHECKING:
    from pandaprobe_otel.api import Client
    from pandaprobe_otel.bootstrap import PandaProbe

_PAUSE_S: Final = 0.5


def evaluate(
    dataset: Dataset,
    task: Callable[[Any], Any],
    metrics: str | Mapping[str, float] | Iterable[str | Scorer] = (),
    thresholds: float | Mapping[str, float] | None = None,
    concurrency: int = 4,
    *,
    name: str | None = None,
    client: Client | None = None,
    judge: str | LocalJudge | None = None,
    model: str | None = None,
    allow_vacuous: bool = False,
    repeat: int = 1,
    min_pass: float = 1.0,
    max_evaluations: int | None = None,
    cache: str | PathLike[str] | None = None,
    refresh: bool = False,
    timeout: float = 600.0,
    deliver_within: float = 60.0,
    pass_rate: float = 1.0,
    say: Callable[[str], None] | None = None,
) -> Report:
    """Run a task over cases, trace each run, judge all traces in one batch, and return the report.

    dataset: the cases; see `load_cases`.
    task: a function or coroutine function of a case's input, or a `Simulation`. With a `Simulation`, each input is a
    simulated user, and PandaProbe's metrics are those of sessions.
    metrics: names of PandaProbe's metrics, and functions (see `Scorer`), which are not billed.
    thresholds: one number for all metrics, or numbers by name (default 0.5). A score below it fails the case.
    concurrency: the number of cases that run at once, in threads.
    client: the client for the judge. Default: a client of the project that receives the traces.
    judge: a model that is called from here, such as `openai/gpt-4o-mini`. This needs no server and sends nothing by
    itself. If `init()` sends traces, their scores are sent too.
    model, allow_vacuous: as in the pytest marker.
    max_evaluations: judge nothing if more evaluations would be billed.
    repeat, min_pass: the number of runs of each case, and the share of them that must pass for each metric. Runs stop
    early once the result is decided. The report shows a case with the mean of its runs and all traces.
    cache: a file with judgements of unchanged behaviour. refresh: judge everything again and update the file.
    timeout: the seconds until traces must be readable, and the seconds for a run of evaluations.
    deliver_within: the seconds until the traces must be delivered.
    pass_rate: the share of the cases that must pass for the report to pass.
    say: called with a line of text for each event, such as the bill, and every 10 s with the progress. Default: print
    to standard error.

    If `metrics` has names, `init()` is called unless the app has called it. Otherwise nothing is sent, and the
    instrumented libraries are restored at the end. If a task fails, its case has an error and the other cases continue.

    Raises:
        ValueError: the dataset, the metrics, the thresholds or a number is invalid.
        ConfigError: there are metrics to judge but no key.
        EvaluationStopped: a KeyboardInterrupt, whose `report` covers the cases until Ctrl-C.
    """
    cases = load_cases(dataset)
    names, scorers = sorted_metrics(metrics)
    limits = limits_of([*names, *scorers], metrics, thresholds)
    demand = Demand(
        metrics={metric: limits[metric] for metric in names},
        scorers={metric: limits[metric] for metric in scorers},
        repetition=Repetition(repeat=repeat, min_pass=min_pass),
        session=isinstance(task, Simulation),
        allow_vacuous=allow_vacuous,
        model=model,
    )
    whole(concurrency=concurrency)
    share(pass_rate=pass_rate)
    judging = Judging(
        judge=LocalJudge(judge) if isinstance(judge, str) else judge,
        max_evaluations=max_evaluations,
        cache=JudgementCache(cache, refresh=refresh),
        timeout_s=timeout,
    )
    trial = Trial(
        task=task,
        personas={case.id: task.persona(case.input) for case in cases} if isinstance(task, Simulation) else {},
        title=name or str(getattr(task, "__name__", "evaluation")),
        scorers=scorers,
        cache=judging.cache,
        demand=demand,
    )
    handle = _open() if names and judging.judge is None else None

    def connect() -> AbstractContextManager[Client]:
        from pandaprobe_otel.api.client import Client, client_of

        if client is not None:
            return nullcontext(client)
        return Client() if handle is None else client_of(handle.config)

    if names:
        judging.check(connect, **{"of_sessions" if demand.session else "of_traces": names})
    done: dict[str, list[TaskRun]] = {}
    said = say or _to_stderr

    def report(found: Judgements, *notes: str) -> Report:
        return Report(
            name=trial.title,
            cases=tuple(case_result(done[case.id], found, demand) for case in cases if case.id in done),
            notes=(*notes, *judging.cache.uses),
            pass_rate=pass_rate,
            trace_url=_trace_url(),
        )

    notes: list[str] = []
    found: Judgements = {}
    try:
        run_cases(cases, trial, concurrency=concurrency, done=done, show=shown(said))
        runs = [run for case in cases for run in done[case.id]]
        if handle is not None and not handle.flush(deliver_within):
            problem = handle.status().last_error
            notes.append(f"traces were not delivered within {deliver_within:g} s: {problem}")
        if names:
            questions = [question for run in runs for question in questions_of(run, demand)]
            found = judging.judged(questions, connect, say=said, show=shown(said), delivered=not notes)
    except KeyboardInterrupt:
        stopped = report({}, f"stopped: {len(done)} of {len(cases)} cases were run")
        raise EvaluationStopped(replace(stopped, complete=False)) from None
    send_scores(_opinions(runs, scorers))
    return report(found, *notes)


def _open() -> PandaProbe:
    from pandaprobe_otel import bootstrap

    handle = bootstrap.current() or bootstrap.init()
    if not handle.enabled:
        problems = " ".join(problem.message for problem in handle.config.problems)
        off = "sending is disabled by init(enabled=False), or by pytest without --pandaprobe=eval."
        raise ConfigError(f"the judge cannot be called: {problems or off}")
    return handle


def _opinions(runs: Iterable[TaskRun], scorers: Mapping[str, Scorer]) -> Judgements:
    """Return the scores of scorers that call a model. They are sent with the traces."""
    asking: dict[str, object] = {name: scorer for name, scorer in scorers.items() if isinstance(scorer, Asking)}
    return {
        (run.trace_id, name): judgement
        for run in runs
        for name, judgement in run.judgements.items()
        if name in asking and run.targets and run.conversation is None
    }


def _trace_url() -> str | None:
    """Return the address of the pages of sent traces."""
    from pandaprobe_otel import bootstrap

    handle = bootstrap.current()
    if handle is None or not handle.enabled:
        return None
    return trace_template(handle.config.endpoint, named=handle.config.trace_url)


def _to_stderr(line: str) -> None:
    sys.stderr.write(f"pandaprobe: {line}\n")


# -- traces and sessions that PandaProbe has already ------------------------------------------------------------------


def judge_stored(
    client: Client,
    judging: Judging,
    demand: Demand,
    *,
    traces: Sequence[str] = (),
    sessions: Sequence[str] = (),
    pass_rate: float = 1.0,
    say: Callable[[str], None] = _to_stderr,
) -> Report:
    """Judge traces and sessions by their ids and return the report, with a case for each.

    demand: metrics of sessions judge each session. Metrics of traces judge each trace, and each trace of each session.
    Recently sent traces and sessions must be readable within the timeout of `judging`, in total.

    Raises ValueError for unknown metrics and for targets that no metric judges, and the API's errors.
    """
    known = {metric.name for metric in client.evaluations.session_metrics()}
    of_sessions = replace(demand, metrics={m: limit for m, limit in demand.metrics.items() if m in known}, session=True)
    of_traces = replace(demand, metrics={m: limit for m, limit in demand.metrics.items() if m not in known})
    judging.check(lambda: nullcontext(client), of_traces=of_traces.metrics)
    if of_sessions.metrics and not sessions:
        raise ValueError(f"{next(iter(of_sessions.metrics))} judges sessions, but no session is given")
    if traces and not of_traces.metrics:
        raise ValueError(f"{next(iter(of_sessions.metrics))} judges sessions, but no metric judges the given traces")
    deadline = time.monotonic() + judging.timeout_s
    runs: dict[tuple[str, bool], tuple[TaskRun, Demand]] = {}

    def add(name: str, records: Sequence[TraceRecord], wanted: Demand) -> None:
        runs[name, wanted.session] = (TaskRun.of_traces(name, records, targets=(name,)), wanted)

    for name in traces:
        add(name, _stored(client.traces.get, name, deadline), of_traces)
    for name in sessions:
        records = _stored(client.sessions.get, name, deadline)
        if of_sessions.metrics or not records:
            add(name, records, of_sessions if of_sessions.metrics else of_traces)
        for record in records if of_traces.metrics else ():
            add(record.trace_id, [record], of_traces)
    questions = [question for run, wanted in runs.values() for question in questions_of(run, wanted)]
    there = [question for question in questions if question.traces]
    found = judging.judged(there, lambda: nullcontext(client), say=say, show=shown(say))
    absent = [question for question in questions if not question.traces]
    found |= errors(absent, "this project of PandaProbe does not have it")
    from pandaprobe_otel.config.resolve import Config

    return Report(
        name="traces and sessions" if traces and sessions else "sessions" if sessions else "traces",
        cases=tuple(case_result([run], found, wanted) for run, wanted in runs.values()),
        pass_rate=pass_rate,
        notes=judging.cache.uses,
        trace_url=trace_template(client.credentials.endpoint, named=Config.resolve().trace_url),
    )


def _stored(get: Callable[[str], Any], name: str, deadline: float) -> list[TraceRecord]:
    """Return a stored trace, or those of a session, once they are there; none after the deadline."""
    while True:
        try:
            found = get(name)
            return [TraceRecord(trace.model_dump(mode="json")) for trace in getattr(found, "traces", (found,))]
        except NotFound:
            if (left_s := deadline - time.monotonic()) <= 0:
                return []
            time.sleep(min(_PAUSE_S, left_s))
