"""Verdicts as reports of tests, so that the exit code, the terminal, JUnit XML and other plugins know them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Literal

import pytest

from pandaprobe_otel.evals.github import add_summary, error_command
from pandaprobe_otel.evals.judging import Finding, Judgement, Judgements
from pandaprobe_otel.evals.report import CaseResult, MetricResult, Report
from pandaprobe_otel.evals.runs import TestRun, Verdict
from pandaprobe_otel.evals.traces import TraceRecord

if TYPE_CHECKING:
    from pandaprobe_otel.api.models import EvalRun


def emit(session: pytest.Session, verdicts: Sequence[Verdict]) -> None:
    """Report each verdict as a test of its own, `test_x::pandaprobe[metric]`."""
    hook = session.config.hook
    session.testscollected += len(verdicts)  # else the progress goes beyond 100 %
    for verdict in verdicts:
        hook.pytest_runtest_logstart(nodeid=verdict.id, location=_location(verdict))
        for report in _reports(verdict):
            hook.pytest_runtest_logreport(report=report)
        hook.pytest_runtest_logfinish(nodeid=verdict.id, location=_location(verdict))
    _keep_out_of_last_failed(session.config, verdicts)


def _reports(verdict: Verdict) -> list[pytest.TestReport]:
    """A verdict fails as a test does; one that could not be given is an error, as of a fixture."""
    failing: Literal["setup", "call"] = "setup" if verdict.outcome == "error" else "call"
    phases: list[Literal["setup", "call", "teardown"]] = ["setup", "teardown"]
    if verdict.outcome != "error":
        phases.insert(1, "call")
    return [
        pytest.TestReport(
            nodeid=verdict.id,
            location=_location(verdict),
            keywords={"pandaprobe": 1},
            outcome="failed" if verdict.outcome != "passed" and when == failing else "passed",
            longrepr=verdict.text if verdict.outcome != "passed" and when == failing else None,
            when=when,
            # JUnit XML takes the properties of the last phase.
            user_properties=_properties(verdict) if when == "teardown" else (),
        )
        for when in phases
    ]


def _properties(verdict: Verdict) -> list[tuple[str, object]]:
    numbers = {"value": verdict.value, "threshold": verdict.threshold}
    return [(f"pandaprobe_{name}", f"{number:g}") for name, number in numbers.items() if number is not None]


def _location(verdict: Verdict) -> tuple[str, int | None, str]:
    file, line, name = verdict.location
    return file, line, f"{name}::pandaprobe[{verdict.label}]"


def _keep_out_of_last_failed(config: pytest.Config, verdicts: Sequence[Verdict]) -> None:
    """`--lf` runs tests, and verdicts are none: the tests whose verdict failed stand for it."""
    plugin: Any = config.pluginmanager.get_plugin("lfplugin")
    if plugin is None:
        return
    for verdict in verdicts:
        plugin.pytest_runtest_logreport(report=_plain(verdict.id, "passed", verdict))
        if verdict.outcome != "passed":
            for nodeid in verdict.nodeids:
                plugin.pytest_runtest_logreport(report=_plain(nodeid, "failed", verdict))


def _plain(nodeid: str, outcome: Literal["passed", "failed"], verdict: Verdict) -> pytest.TestReport:
    return pytest.TestReport(
        nodeid=nodeid, location=verdict.location, keywords={}, outcome=outcome, longrepr=None, when="call"
    )


def report_of(runs: Sequence[TestRun], found: Judgements, notes: tuple[str, ...]) -> Report:
    """Return the report of the suite: each run of a marked test is a case."""
    return Report(
        name="test suite",
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        cases=tuple(_case(run, found) for run in runs if run.ran),
        notes=notes,
    )


def write_report(path: str, report: Report) -> None:
    """Write the report. Raises UsageError where that is not possible."""
    try:
        report.save(path)
    except OSError as error:
        raise pytest.UsageError(f"--pandaprobe-report: {error}") from None


def tell_github(report: Report, verdicts: Sequence[Verdict], environ: Mapping[str, str]) -> list[str]:
    """In a job of GitHub Actions: add the report to its summary, and return an annotation for each bad verdict."""
    add_summary(report.to_markdown(), environ)
    if environ.get("GITHUB_ACTIONS") != "true":
        return []
    return [
        error_command(title=verdict.id, text=verdict.summary, file=verdict.location[0], line=verdict.location[1])
        for verdict in verdicts
        if verdict.outcome != "passed"
    ]


class Narrator:
    """Tells in the terminal what the judge does: lines, and how far a run is."""

    _EVERY_S: Final = 15.0
    """Where a line cannot be replaced, as in the log of a CI job."""

    def __init__(self, terminal: Any, *, clock: Callable[[], float] = time.monotonic) -> None:
        """`terminal` is pytest's reporter, None for none."""
        self._terminal = terminal
        self._clock = clock
        self._said_at = clock()
        if terminal is not None:
            terminal.write("\n")  # after the line of dots

    def say(self, line: str) -> None:
        """Write a line."""
        if self._terminal is not None:
            self._terminal.write_line(f"pandaprobe: {line}")

    def progress(self, run: EvalRun) -> None:
        """Show the state of a run: in place on a terminal, else as a line now and then."""
        if self._terminal is None:
            return
        done = f"{run.evaluated_count} of {run.total_targets} judged ({', '.join(run.metric_names)})"
        if self._terminal.isatty:
            self._terminal.rewrite("" if run.status == "COMPLETED" else f"pandaprobe: {done}", erase=True)
        elif self._clock() - self._said_at >= self._EVERY_S:
            self._said_at = self._clock()
            self.say(done)


def _case(run: TestRun, found: Judgements) -> CaseResult:
    traces = [TraceRecord(trace.body) for trace in run.traces if trace.body is not None]
    return CaseResult(
        id=run.nodeid,
        input=traces[0].input if traces else None,
        output=traces[-1].output if traces else None,
        error=None if run.passed else run.failure or "the test failed",
        seconds=sum(trace.seconds for trace in traces),
        results=_results(run, found),
        traces=tuple(trace.body for trace in traces),
    )


def _results(run: TestRun, found: Judgements) -> tuple[MetricResult, ...]:
    """What was judged; a run without traces, where others were judged, is no pass."""
    judged = {key: judgement for key, judgement in found.items() if key[0] in run.targets}
    if found and run.passed and not run.targets:
        absent = Judgement(finding=Finding.ERROR, reason="the test made no trace")
        judged = {("", metric): absent for metric in run.demand.metrics}
    return tuple(
        MetricResult.of(metric, judgement, run.demand.metrics[metric], allow_vacuous=run.demand.allow_vacuous)
        for (_, metric), judgement in judged.items()
        if metric in run.demand.metrics
    )
