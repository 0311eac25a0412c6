"""Verdicts as test reports, which count for the exit code, the terminal, JUnit XML and other plugins."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

import pytest

from pandaprobe_otel.evals.github import add_summary, error_command
from pandaprobe_otel.evals.outcome import Outcome
from pandaprobe_otel.evals.progress import Tally, Ticker
from pandaprobe_otel.evals.report import CaseResult, MetricResult, Report
from pandaprobe_otel.evals.suite_runs import REPEAT, TestRun, Verdict, by_test
from pandaprobe_otel.traces.records import TraceRecord


def emit(session: pytest.Session, verdicts: Sequence[Verdict], *, allow_no_evidence: bool) -> None:
    """Report each verdict of the judge as a separate test, `test_x::pandaprobe[metric]`."""
    hook = session.config.hook
    verdicts = [verdict for verdict in verdicts if verdict.label != REPEAT]
    session.testscollected += len(verdicts)  # Otherwise the progress exceeds 100 %.
    for verdict in verdicts:
        hook.pytest_runtest_logstart(nodeid=verdict.id, location=_location(verdict))
        for report in outcome_reports(verdict, allow_no_evidence=allow_no_evidence):
            hook.pytest_runtest_logreport(report=report)
        hook.pytest_runtest_logfinish(nodeid=verdict.id, location=_location(verdict))
    _keep_out_of_last_failed(session.config, verdicts)


def outcome_reports(verdict: Verdict, *, allow_no_evidence: bool) -> list[pytest.TestReport]:
    """Return the reports of a verdict.

    A failed verdict fails like a test. A verdict without evidence is an error, as in a fixture, or skipped if allowed.
    """
    failing: Literal["setup", "call"] = "setup" if verdict.outcome is Outcome.NO_EVIDENCE else "call"
    phases: list[Literal["setup", "call", "teardown"]] = ["setup", "teardown"]
    if failing == "call":
        phases.insert(1, "call")
    bad: Literal["failed", "skipped"] = "failed"
    told: Any = verdict.text
    if failing == "setup" and allow_no_evidence:
        bad, told = "skipped", (verdict.location[0], verdict.location[1] or 0, f"Skipped: {verdict.summary}")
    return [
        pytest.TestReport(
            nodeid=verdict.id,
            location=_location(verdict),
            keywords={"pandaprobe": 1},
            outcome=bad if verdict.outcome is not Outcome.PASSED and when == failing else "passed",
            longrepr=told if verdict.outcome is not Outcome.PASSED and when == failing else None,
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
    """Replace verdicts by their tests in `--lf`, which can only run tests."""
    plugin: Any = config.pluginmanager.get_plugin("lfplugin")
    if plugin is None:
        return
    for verdict in verdicts:
        plugin.pytest_runtest_logreport(report=_plain(verdict.id, "passed", verdict))
        if verdict.outcome is not Outcome.PASSED:
            plugin.pytest_runtest_logreport(report=_plain(verdict.nodeid, "failed", verdict))


def _plain(nodeid: str, outcome: Literal["passed", "failed"], verdict: Verdict) -> pytest.TestReport:
    return pytest.TestReport(
        nodeid=nodeid, location=verdict.location, keywords={}, outcome=outcome, longrepr=None, when="call"
    )


def report_of(
    runs: Sequence[TestRun],
    verdicts: Sequence[Verdict],
    notes: tuple[str, ...],
    *,
    complete: bool,
    trace_url: str | None = None,
) -> Report:
    """Return the report of the suite. Each recorded test is a case, with the verdicts that pytest reports."""
    of_tests: dict[str, list[Verdict]] = {}
    for verdict in verdicts:
        of_tests.setdefault(verdict.nodeid, []).append(verdict)
    ran = by_test(run for run in runs if run.ran)
    return Report(
        name="test suite",
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        cases=tuple(_case(group, of_tests.get(nodeid, ())) for nodeid, group in ran.items()),
        notes=notes,
        complete=complete,
        trace_url=trace_url,
    )


def write_report(path: str, report: Report) -> None:
    """Write the report. Raises UsageError if it cannot be written."""
    try:
        report.save(path)
    except OSError as error:
        raise pytest.UsageError(f"--pandaprobe-report: {error}") from None


def report_to_github(
    report: Report,
    runs: Sequence[TestRun],
    verdicts: Sequence[Verdict],
    environ: Mapping[str, str],
    *,
    allow_no_evidence: bool,
) -> list[str]:
    """Add the report to the summary of a GitHub Actions job, and return an annotation for each problem."""
    add_summary(report.to_markdown(), environ)
    if environ.get("GITHUB_ACTIONS") != "true":
        return []
    failed = [run for run in runs if run.ran and not run.passed and run.demand.repetition.repeat == 1]
    lines = [
        error_command(title=run.nodeid, text=run.error, file=run.location[0], line=run.location[1]) for run in failed
    ]
    return lines + [
        error_command(
            level="warning" if verdict.outcome is Outcome.NO_EVIDENCE and allow_no_evidence else "error",
            title=verdict.id if verdict.label != REPEAT else verdict.nodeid,
            text=verdict.summary,
            file=verdict.location[0],
            line=verdict.location[1],
        )
        for verdict in verdicts
        if verdict.outcome is not Outcome.PASSED
    ]


class Narrator:
    """Lines and progress of the judge in the terminal."""

    def __init__(self, terminal: Any, *, clock: Callable[[], float] = time.monotonic) -> None:
        """`terminal` is pytest's reporter, or None."""
        self._terminal = terminal
        self._ticker = Ticker(self.say, clock=clock)
        if terminal is not None:
            terminal.write("\n")  # after the line of dots

    def say(self, line: str) -> None:
        """Write a line."""
        if self._terminal is not None:
            self._terminal.write_line(f"pandaprobe: {line}")

    def show(self, state: Tally) -> None:
        """Show the progress of a run: updated in place on a terminal, otherwise as occasional lines."""
        if self._terminal is None:
            return
        if self._terminal.isatty:
            line = "" if state.done >= state.total else f"pandaprobe: {state.text(self._ticker.seconds)}"
            self._terminal.rewrite(line, erase=True)
        else:
            self._ticker.tick(lambda: state)


def _case(runs: Sequence[TestRun], verdicts: Sequence[Verdict]) -> CaseResult:
    """Return a test as a case. Its own failure decides or, for a repeated test, the verdict on the repetitions."""
    traces = [TraceRecord(trace.body) for run in runs for trace in run.traces if trace.body is not None]
    failed = [run for run in runs if not run.passed]
    lost = [verdict for verdict in verdicts if verdict.label == REPEAT and verdict.outcome is Outcome.FAILED]
    error = None
    if failed and (lost or runs[0].demand.repetition.repeat == 1):
        error = failed[0].error if not lost else f"run {failed[0].number}: {failed[0].error}"
    return CaseResult(
        id=runs[0].nodeid,
        input=traces[0].input if traces else None,
        output=traces[-1].output if traces else None,
        error=error,
        seconds=sum(trace.seconds for trace in traces) / len(runs),
        results=tuple(_result(verdict) for verdict in verdicts),
        traces=tuple(trace.body for trace in traces),
        checked=True,
    )


def _result(verdict: Verdict) -> MetricResult:
    return MetricResult(
        metric=verdict.label,
        finding=verdict.finding.value,
        value=verdict.value,
        threshold=verdict.threshold or 0.0,
        outcome=verdict.outcome,
        text=f"repeated: {verdict.summary}" if verdict.label == REPEAT else verdict.summary,
        evidence=verdict.evidence,
    )
