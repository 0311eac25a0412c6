"""Repeated tests. A test with several runs has one outcome, decided by the share of passed runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from _pytest.runner import call_and_report  # pyright: ignore[reportUnknownVariableType] - as rerunfailures does

from pandaprobe_otel.evals.verdicts import Outcome, Repetition, enough

NUMBER = pytest.StashKey[int]()
"""The number of an item among the runs of its test, from 1."""


def run_repeatedly(
    item: pytest.Item, nextitem: pytest.Item | None, repetition: Repetition, *, may_stop: Callable[[str], bool]
) -> None:
    """Run a test until its outcome is decided, each run with its own fixtures, and report it once.

    may_stop: True to stop early when the outcome is "reached" or "out of reach".
    """
    hook = item.ihook
    hook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    runs: list[list[pytest.TestReport]] = []
    for number in range(1, repetition.repeat + 1):
        item.stash[NUMBER] = number
        runs.append(_until_teardown(item))
        is_last = number == repetition.repeat or not _has_outcome(runs[-1]) or _is_over(item.session)
        if not is_last:
            passed = sum(reports[1].passed for reports in runs)
            found = repetition.settled(passed=passed, failed=number - passed)
            is_last = found is not None and may_stop(found)
        # Fixtures that the runs share, such as those of the module, stay until the last run.
        runs[-1].append(_torn_down(item, nextitem if is_last else item.parent))
        if is_last:
            break
    del item.stash[NUMBER]
    for report in _together(runs, repetition):
        hook.pytest_runtest_logreport(report=report)
    hook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)


def _until_teardown(item: pytest.Item) -> list[pytest.TestReport]:
    function: Any = item
    if hasattr(item, "_request") and not function._request:
        function._initrequest()
    reports = [call_and_report(item, "setup", log=False)]
    if reports[0].passed and not item.config.getoption("setuponly", default=False):
        reports.append(call_and_report(item, "call", log=False))
    return reports


def _torn_down(item: pytest.Item, nextitem: Any) -> pytest.TestReport:
    function: Any = item
    try:
        return call_and_report(item, "teardown", log=False, nextitem=None if _is_over(item.session) else nextitem)
    finally:
        if hasattr(item, "_request"):
            function._request, function.funcargs = False, None


def _is_over(session: pytest.Session) -> bool:
    return bool(session.shouldstop or session.shouldfail)


def _has_outcome(reports: Sequence[pytest.TestReport]) -> bool:
    """Return whether the test function itself ran, and was neither skipped nor expected to fail."""
    return len(reports) > 1 and not reports[1].skipped


def _together(runs: Sequence[list[pytest.TestReport]], repetition: Repetition) -> list[pytest.TestReport]:
    """Return the reports of the test. A run that was skipped, or whose fixtures failed, is reported unchanged."""
    *before, teardown = runs[-1]
    plain = [reports[-1].__dict__["pandaprobe"] for reports in runs]
    teardown = next((reports[-1] for reports in runs if reports[-1].failed), teardown)
    teardown.__dict__["pandaprobe"] = plain[0] | {"runs": [run for each in plain for run in each["runs"]]}
    if not _has_outcome(before):
        return [*before, teardown]
    calls = [reports[1] for reports in runs]
    outcomes = [Outcome.PASSED if call.passed else Outcome.FAILED for call in calls]
    outcome = enough(outcomes, repetition.needed)
    call = next((call for call in calls if call.passed is (outcome is Outcome.PASSED)), calls[-1])
    call.duration = sum(each.duration for each in calls)
    call.outcome, call.longrepr = "passed", None
    if outcome is not Outcome.PASSED:
        failures = [f"run {number}: {call.longreprtext}" for number, call in enumerate(calls, 1) if call.failed]
        call.outcome, call.longrepr = "failed", "\n\n".join([repetition.text(outcomes), *failures])
    return [before[0], call, teardown]
