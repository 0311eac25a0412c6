"""Verdicts as reports of tests, so that the exit code, the terminal, JUnit XML and other plugins know them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Literal

import pytest

from pandaprobe_otel.evals.judging import Judgements
from pandaprobe_otel.evals.report import CaseResult, MetricResult, Report
from pandaprobe_otel.evals.runs import TestRun, Verdict
from pandaprobe_otel.evals.traces import TraceRecord


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


def write_report(path: str, runs: Sequence[TestRun], found: Judgements, notes: tuple[str, ...]) -> None:
    """Write the report of the suite: each run of a marked test is a case. Raises UsageError for a wrong suffix."""
    report = Report(
        name="test suite",
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        cases=tuple(_case(run, found) for run in runs if run.ran),
        notes=notes,
    )
    try:
        report.save(path)
    except (OSError, ValueError) as error:
        raise pytest.UsageError(f"--pandaprobe-report: {error}") from None


def _case(run: TestRun, found: Judgements) -> CaseResult:
    traces = [TraceRecord(trace.body) for trace in run.traces if trace.body is not None]
    return CaseResult(
        id=run.nodeid,
        input=traces[0].input if traces else None,
        output=traces[-1].output if traces else None,
        error=None if run.passed else run.failure or "the test failed",
        seconds=sum(trace.seconds for trace in traces),
        results=tuple(
            MetricResult.of(metric, found[target, metric], threshold, allow_vacuous=run.demand.allow_vacuous)
            for target in run.targets
            for metric, threshold in run.demand.metrics.items()
            if (target, metric) in found
        ),
        traces=tuple(trace.body for trace in traces),
    )
