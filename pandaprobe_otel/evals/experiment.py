"""`evaluate()`: run a task over a dataset, trace it, judge all traces in one batch, and report. Needs no pytest."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pandaprobe_otel.errors import ConfigError
from pandaprobe_otel.evals.cache import Caches
from pandaprobe_otel.evals.case_results import Rules, case_result
from pandaprobe_otel.evals.confirmation import confirmed
from pandaprobe_otel.evals.dataset import Dataset, load_cases
from pandaprobe_otel.evals.judging import Allowance, Bench, Judgements, Question, check_metrics
from pandaprobe_otel.evals.local_judge import LocalBench, LocalJudge, check_local_metrics, send_scores
from pandaprobe_otel.evals.marker_options import DEFAULT_THRESHOLD
from pandaprobe_otel.evals.progress import Tally, follow, of_judge, shown
from pandaprobe_otel.evals.repetition import Repetition, share, whole
from pandaprobe_otel.evals.report import EvaluationStopped, Report
from pandaprobe_otel.evals.server_judge import UNDELIVERED_WITHIN_S, ServerBench
from pandaprobe_otel.evals.simulation import Simulation
from pandaprobe_otel.evals.task_runs import Asking, Scorer, TaskRun, Trial, run_cases, sorted_metrics
from pandaprobe_otel.reporting.trace_links import trace_template

if TYPE_CHECKING:
    from pandaprobe_otel.api import Client
    from pandaprobe_otel.bootstrap import PandaProbe


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
    confirm: int = 1,
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
    model, confirm, allow_vacuous: as in the pytest marker.
    max_evaluations: judge nothing if more evaluations would be billed.
    repeat, min_pass: the number of runs of each case, and the share of them that must pass for each metric. Runs stop
    early once the result is decided. The report shows a case with the mean of its runs and all traces.
    cache: a file with judgements of unchanged behaviour. refresh: judge everything again and update the file.
    timeout: the seconds until traces must be readable, and the seconds for a run of evaluations.
    deliver_within: the seconds until the traces must be delivered.
    pass_rate: the share of the cases that must pass for the report to pass.
    say: called with a line of text for each event, such as the bill, and every 10 s with the progress. Default: print
    to standard error, and update the progress in place on a terminal.

    If `metrics` has names, `init()` is called unless the app has called it. Otherwise nothing is sent, and the
    instrumented libraries are restored at the end. If a task fails, its case has an error and the other cases continue.

    Raises:
        ValueError: the dataset, the metrics, the thresholds or a number is invalid.
        ConfigError: there are metrics to judge but no key.
        EvaluationStopped: a KeyboardInterrupt, whose `report` covers the cases until Ctrl-C.
    """
    cases = load_cases(dataset)
    names, scorers = sorted_metrics(metrics)
    rules = Rules(
        judged=names,
        thresholds=_thresholds([*names, *scorers], metrics, thresholds),
        allow_vacuous=allow_vacuous,
        repetition=Repetition(repeat=repeat, min_pass=min_pass),
    )
    whole(concurrency=concurrency, confirm=confirm)
    share(pass_rate=pass_rate)
    title = name or str(getattr(task, "__name__", "evaluation"))
    caches = Caches(None if cache is None else Path(cache).expanduser(), refresh=refresh)
    trial = Trial(
        task=task,
        personas={case.id: task.persona(case.input) for case in cases} if isinstance(task, Simulation) else {},
        title=title,
        scorers=scorers,
        cache=caches.of(""),
        repeat=repeat,
        settled=rules.settled,
    )
    if isinstance(judge, str):
        judge = LocalJudge(judge)
    asked = {"of_sessions" if isinstance(task, Simulation) else "of_traces": names}
    if judge is not None:
        check_local_metrics(**asked)
    done: dict[str, list[TaskRun]] = {}
    run = partial(run_cases, cases, trial, concurrency=concurrency, done=done, watch=partial(_watch, rules, say))
    run_and_judge = partial(_run_and_judge, client) if judge is None else partial(_run_and_judge_here, judge)
    asking = _Asking(
        rules=rules,
        asked=asked,
        model=model,
        answers=confirm,
        allowance=Allowance(max_evaluations),
        caches=caches,
        timeout_s=timeout,
        deliver_within_s=deliver_within,
        say=say,
    )

    def report(of_cases: Iterable[Sequence[TaskRun]], found: Judgements, notes: tuple[str, ...]) -> Report:
        return Report(
            name=title,
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
            cases=tuple(case_result(of_case, found, rules) for of_case in of_cases),
            notes=notes,
            pass_rate=pass_rate,
            cache=caches.uses,
            trace_url=_trace_url(),
        )

    try:
        of_cases, found, notes = run_and_judge(run, asking) if names else (run(), {}, ())
    except KeyboardInterrupt:
        ended = [done[case.id] for case in cases if case.id in done]
        stopped = report(ended, {}, (f"stopped: {len(ended)} of {len(cases)} cases were run",))
        raise EvaluationStopped(replace(stopped, complete=False)) from None
    send_scores(_opinions(of_cases, scorers))
    return report(of_cases, found, notes)


def _watch(rules: Rules, say: Callable[[str], None] | None, futures: Sequence[Future[list[TaskRun]]]) -> None:
    """Report the progress of the cases."""

    def count(tally: Tally, runs: list[TaskRun]) -> None:
        known = [trace.cost for run in runs for trace in run.traces if trace.cost is not None]
        tally.add(failed=rules.is_lost(runs), cost=sum(known) if known else None)

    with shown(say or _to_stderr, live=say is None) as show:
        follow(futures, Tally(what="cases done", total=len(futures)), count, show)


# -- judging ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asking:
    """The way in which the judge is called."""

    rules: Rules
    asked: Mapping[str, Sequence[str]]
    """The metrics, as `of_traces` or, for a simulation, `of_sessions`."""
    model: str | None
    answers: int
    allowance: Allowance
    caches: Caches
    timeout_s: float
    deliver_within_s: float
    say: Callable[[str], None] | None

    def by_server(self, client: Client, runs: Iterable[TaskRun], *, delivered: bool) -> Judgements:
        bench = ServerBench(
            client,
            allowance=self.allowance,
            timeout_s=self.timeout_s,
            visible_within_s=None if delivered else UNDELIVERED_WITHIN_S,
            cache=self.caches.of(client.credentials.endpoint),
            say=self.say or _to_stderr,
            progress=of_judge(self.say or _to_stderr, live=self.say is None),
        )
        return self._judged(bench, runs)

    def by_model(self, judge: LocalJudge, runs: Sequence[TaskRun]) -> Judgements:
        say = self.say or _to_stderr
        with closing(judge.open()) as asked, shown(say, live=self.say is None) as show:
            bench = LocalBench(
                asked,
                {run.target: run.judged for run in runs},
                allowance=self.allowance,
                cache=self.caches.of(judge.name),
                say=say,
                show=show,
            )
            return self._judged(bench, runs)

    def _judged(self, bench: Bench, runs: Iterable[TaskRun]) -> Judgements:
        questions = [_question(run, self.rules.judged, self.model) for run in runs if run.is_traced]
        return confirmed(bench, questions, bench.judge(questions), self.rules.thresholds, answers=self.answers)


_Judged = tuple[list[list[TaskRun]], Judgements, tuple[str, ...]]


def _run_and_judge_here(judge: LocalJudge, run: Callable[[], list[list[TaskRun]]], asking: _Asking) -> _Judged:
    of_cases = run()
    found = asking.by_model(judge, [run for of_case in of_cases for run in of_case])
    send_scores(found)
    return of_cases, found, ()


def _run_and_judge(client: Client | None, run: Callable[[], list[list[TaskRun]]], asking: _Asking) -> _Judged:
    handle = _open()
    with ExitStack() as stack:
        if client is None:
            from pandaprobe_otel.api.client import client_of

            client = stack.enter_context(client_of(handle.config))
        check_metrics(client, **asking.asked)
        of_cases = run()
        delivered = handle.flush(asking.deliver_within_s)
        late = f"traces were not delivered within {asking.deliver_within_s:g} s: {handle.status().last_error}"
        found = asking.by_server(client, (run for of_case in of_cases for run in of_case), delivered=delivered)
    return of_cases, found, () if delivered else (late,)


def _open() -> PandaProbe:
    from pandaprobe_otel import bootstrap

    handle = bootstrap.current() or bootstrap.init()
    if not handle.enabled:
        problems = " ".join(problem.message for problem in handle.config.problems)
        off = "sending is disabled by init(enabled=False), or by pytest without --pandaprobe=eval."
        raise ConfigError(f"the judge cannot be called: {problems or off}")
    return handle


def _opinions(of_cases: Iterable[Iterable[TaskRun]], scorers: Mapping[str, Scorer]) -> Judgements:
    """Return the scores of scorers that call a model. They are sent with the traces."""
    asking: dict[str, object] = {name: scorer for name, scorer in scorers.items() if isinstance(scorer, Asking)}
    return {
        (run.trace_id, name): judgement
        for of_case in of_cases
        for run in of_case
        for name, judgement in run.judgements.items()
        if name in asking and run.is_traced and run.conversation is None
    }


def _trace_url() -> str | None:
    """Return the address of the pages of sent traces."""
    from pandaprobe_otel import bootstrap

    handle = bootstrap.current()
    if handle is None or not handle.enabled:
        return None
    return trace_template(handle.config.endpoint, named=handle.config.trace_url)


def _question(run: TaskRun, names: Sequence[str], model: str | None) -> Question:
    traces = run.judged
    return Question(
        target=run.target,
        metrics=tuple(names),
        session=run.conversation is not None,
        model=model,
        content=" ".join(trace.content_hash for trace in traces) or None,
        started=min((datetime.fromisoformat(str(trace.body["started_at"])) for trace in traces), default=None),
        unfinished=run.unfinished or next((outcome for trace in traces if (outcome := trace.unfinished)), None),
        traces=tuple(trace.trace_id for trace in traces),
    )


# -- arguments --------------------------------------------------------------------------------------------------------


def _thresholds(
    names: Iterable[str], metrics: object, thresholds: float | Mapping[str, float] | None
) -> dict[str, float]:
    given: dict[str, float] = {}
    common = DEFAULT_THRESHOLD
    for source in (metrics, thresholds):
        if isinstance(source, Mapping):
            given.update(cast("Mapping[str, float]", source))
        elif isinstance(source, int | float):
            common = float(source)
    names = list(names)
    if unknown := [name for name in given if name not in names]:
        raise ValueError(f"{', '.join(unknown)} has a threshold but is not a metric of this evaluation")
    for value in (common, *given.values()):
        share(threshold=value)
    return {name: given.get(name, common) for name in names}


def _to_stderr(line: str) -> None:
    sys.stderr.write(f"pandaprobe: {line}\n")
