"""Verdicts as reports of tests, so that the exit code, the terminal, JUnit XML and other plugins know them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import pytest

from pandaprobe_otel.evals.runs import TestRun, Verdict


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


def write_reports(path: str | None, runs: Sequence[TestRun], verdicts: Sequence[Verdict]) -> Any:
    """Write the report that was asked for."""
