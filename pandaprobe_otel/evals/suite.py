"""The pytest plugin itself: it records tests, decides about repetitions, and judges after the last test."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

import pytest

from pandaprobe_otel.evals.judging import UnknownMetric, check_metrics
from pandaprobe_otel.evals.marker_options import Demand, parse_metrics
from pandaprobe_otel.evals.outcome import Outcome
from pandaprobe_otel.evals.probe import Probe
from pandaprobe_otel.evals.recorder import RECORDER, Recording
from pandaprobe_otel.evals.suite_connection import Connection, is_set
from pandaprobe_otel.evals.suite_repetition import NUMBER, run_repeatedly
from pandaprobe_otel.evals.suite_runs import TestRun, TraceNote, Verdict, by_test, metric_verdicts, repeat_verdicts
from pandaprobe_otel.evals.suite_services import Services
from pandaprobe_otel.traces.text import tree_text

if TYPE_CHECKING:
    from pandaprobe_otel.evals.report import Report
    from pandaprobe_otel.evals.suite_progress import Watch

T = TypeVar("T")

_MAX_TEXT: Final = 8_000


@dataclass(slots=True, kw_only=True)
class ItemState:
    """State of the current attempt of a test, as far as it is known."""

    recording: Recording
    outer: Recording | None
    """The recording to restore after the attempt. An outer suite has one if this suite runs inside a test."""
    demand: Demand | None
    number: int = 1
    passed: bool = False
    ran: bool = False
    failure: str = ""
    error: str = ""
    """Short text of the failure."""
    scores: dict[str, float | bool | str] = field(default_factory=dict[str, float | bool | str])


_STATE: Final = pytest.StashKey[ItemState]()


class Suite:
    """The suite of a test run that uses PandaProbe; one per process."""

    def __init__(self, config: pytest.Config, settings: Mapping[str, str | None]) -> None:
        self._config = config
        self.mode = settings.get("") or "off"
        self._reports = [line.strip() for line in (settings.get("report") or "").splitlines() if line.strip()]
        self._metrics = _usable("metrics", lambda: parse_metrics(settings.get("metrics")))
        if self._reports:
            from pandaprobe_otel.evals.report import check_form

            for path in self._reports:
                _usable("report", partial(check_form, path))
        self.problems: list[str] = []
        self._runs: dict[str, list[TestRun]] = {}
        self._order: dict[str, int] = {}
        self._recorded = 0
        self._watch: Watch | None = None
        self._allows_no_evidence = is_set(settings, "allow-no-evidence")
        self._lines: list[str] = []
        self._verdicts: list[Verdict] = []
        self.connection = Connection(self.mode, settings)
        self.connection.check()
        self.connection.prepare()

    # -- collection ---------------------------------------------------------------------------------------------------

    def check(self, item: pytest.Item) -> None:
        """Refuse an invalid marker before anything runs."""
        self._demand_of(item)

    def _demand_of(self, node: Any) -> Demand | None:
        return demand_of(node, self._metrics)

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """In the mode eval, refuse unknown metrics before the tests run."""
        self._order = {item.nodeid: number for number, item in enumerate(session.items)}
        self._recorded = sum(is_recorded(item) for item in session.items)
        if self.mode != "eval" or hasattr(self._config, "workerinput"):
            return
        asked = [(item, demand) for item in session.items if (demand := self._demand_of(item)) and demand.metrics]
        if not asked:
            return
        of_traces, of_sessions = (
            {name for _, demand in asked if demand.session is whole for name in demand.metrics}
            for whole in (False, True)
        )
        try:
            self._check(of_traces=of_traces, of_sessions=of_sessions)
        except UnknownMetric as error:
            by_option = error.metric in self._metrics and not error.of_sessions
            item = next(i for i, d in asked if error.metric in d.metrics and d.session is error.of_sessions)
            who = "--pandaprobe-metrics" if by_option else f"{item.nodeid}: @pytest.mark.pandaprobe"
            raise pytest.UsageError(f"{who}: {error}") from None

    def _check(self, *, of_traces: set[str], of_sessions: set[str]) -> None:
        if self.connection.judge is not None:
            from pandaprobe_otel.evals.local_judge import check_local_metrics

            check_local_metrics(of_traces=of_traces, of_sessions=of_sessions)
            return
        with self.connection.client() as client:
            check_metrics(client, of_traces=of_traces, of_sessions=of_sessions)

    # -- one test -----------------------------------------------------------------------------------------------------

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
        """Run a test as often as its marker says. pytest runs the other tests."""
        demand = self._demand_of(item)
        if demand is None or demand.repetition.repeat == 1:
            return None
        # The judge may still reject a passed run, so enough passed runs are not a reason to stop.
        goes_on = bool(demand.metrics) and self.mode == "eval"
        run_repeatedly(item, nextitem, demand.repetition, may_stop=lambda found: found == "out of reach" or not goes_on)
        return True

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Start recording."""
        if is_recorded(item):
            self._begin(item, self._demand_of(item))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, object, object]:
        """Run the test in a context that names the recording of its traces."""
        self.connection.open()
        state = item.stash.get(_STATE, None)
        if state is None:
            return (yield)
        from opentelemetry.context import attach, detach, get_current

        self._listen()
        token = attach(state.recording.applied_to(get_current()))
        try:
            return (yield)
        finally:
            detach(token)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Note the outcome, including that of fixtures."""
        report = yield
        state = item.stash.get(_STATE, None)
        if state is None:
            return report
        if call.when == "call" or report.failed:
            _note(report, state)
        if call.when == "teardown":
            report.__dict__["pandaprobe"] = [self._described(item, state)]
            RECORDER.begin(state.outer)
            state.recording.close()
            del item.stash[_STATE]
        return report

    def probe(self, item: pytest.Item) -> Probe:
        """Return the fixture's object for a test."""
        state = item.stash.get(_STATE, None) or self._begin(item, self._demand_of(item))
        self._listen()
        return Probe(state.recording, Services(self, state), state.scores)

    def _begin(self, item: pytest.Item, demand: Demand | None) -> ItemState:
        session = f"pytest-{uuid.uuid4()}" if demand is not None and demand.session else None
        recording = Recording(session=session)
        RECORDER.attach(create=False)
        state = item.stash[_STATE] = ItemState(
            recording=recording,
            outer=RECORDER.begin(recording),
            demand=demand,
            number=number_of(item),
        )
        return state

    def _listen(self) -> None:
        self.connection.open()
        RECORDER.attach(create=True)
        self.connection.instrument()

    def _described(self, item: pytest.Item, state: ItemState) -> dict[str, Any]:
        keeps = self.mode == "eval" or bool(self._reports)
        traces = state.recording.traces() if keeps else ()
        notes = tuple(
            TraceNote(
                trace_id=trace.trace_id,
                started_at=str(trace.body["started_at"]),
                content=trace.content_hash,
                unfinished=trace.unfinished,
                session_id=trace.session_id,
                cost=trace.cost,
                body=trace.body if self._reports or self.connection.judge is not None else None,
            )
            for trace in traces
        )
        return TestRun(
            nodeid=item.nodeid,
            number=state.number,
            passed=state.passed,
            ran=state.ran,
            demand=state.demand or Demand.of(),
            traces=notes,
            tree=tree_text(traces)[:_MAX_TEXT] if keeps else "",
            failure=state.failure,
            error=state.error,
            location=item.location,
            order=self._order.get(item.nodeid, 0),
            recorded=self._recorded,
            scores=dict(state.scores),
        ).to_dict()

    # -- the end ------------------------------------------------------------------------------------------------------

    def observe(self, report: pytest.TestReport) -> None:
        """Keep the last attempt of each test. The setup of a new attempt voids the previous one."""
        if report.when == "setup":
            self._runs.pop(report.nodeid, None)
        elif (plain := report.__dict__.get("pandaprobe")) is not None:
            self._runs[report.nodeid] = [TestRun.from_dict(run) for run in plain]
            self._log_progress()

    def _log_progress(self) -> None:
        """Log the progress of recorded tests, if the output is not a terminal."""
        if self.mode == "off" or hasattr(self._config, "workerinput"):
            return
        if self._watch is None:
            from pandaprobe_otel.evals.suite_progress import Watch

            self._watch = Watch(self._config.pluginmanager.get_plugin("terminalreporter"))
        self._watch.tell(self._runs.values())

    def conclude(self, session: pytest.Session) -> None:
        """Deliver, judge and report."""
        problem = self.connection.flush()
        if hasattr(self._config, "workerinput"):
            output: dict[str, Any] | None = getattr(self._config, "workeroutput", None)
            if problem and output is not None:
                output["pandaprobe"] = problem
            return
        if problem:
            self.problems.append(problem)
        runs = self._all_runs()
        self._verdicts = repeat_verdicts(runs)
        self._verdicts += self._judged(runs)
        from pandaprobe_otel.evals import suite_output

        suite_output.emit(session, self._verdicts, allow_no_evidence=self._allows_no_evidence)
        report = self._report(runs, complete=True)
        if report is not None and self.mode == "eval" and report.cases:
            allowed = self._allows_no_evidence
            told = suite_output.report_to_github(report, runs, self._verdicts, os.environ, allow_no_evidence=allowed)
            self._lines += told

    def abandon(self) -> None:
        """Report that nothing was judged, because the tests were interrupted."""
        if hasattr(self._config, "workerinput"):
            return
        runs = self._all_runs()
        self._verdicts = repeat_verdicts(runs)
        if count := _count(self._to_judge(runs)):
            self._lines.append(f"{_skipped(count)}: the test run was stopped")
        self._report(runs, complete=False)

    def _all_runs(self) -> list[TestRun]:
        """Return the runs in the order of the tests, even if xdist workers made them."""
        return sorted((run for runs in self._runs.values() for run in runs), key=lambda run: (run.order, run.number))

    def _report(self, runs: list[TestRun], *, complete: bool) -> Report | None:
        """Write the requested report. If the tests were stopped, it has no evidence about the rest."""
        if not self._reports and self.mode != "eval":
            return None
        from pandaprobe_otel.evals import suite_output

        notes = (*self._lines, *(f"not delivered: {problem}" for problem in self.problems))
        report = suite_output.report_of(
            runs, self._verdicts, notes, complete=complete, trace_url=self.connection.trace_url()
        )
        report = replace(report, cache=self.connection.caches.uses)
        for path in self._reports:
            suite_output.write_report(path, report)
        return report

    def _to_judge(self, runs: list[TestRun]) -> list[TestRun]:
        lost = {verdict.nodeid for verdict in self._verdicts if verdict.outcome is not Outcome.PASSED}
        return [run for run in runs if run.demand.metrics and run.nodeid not in lost]

    def _judged(self, runs: list[TestRun]) -> list[Verdict]:
        wanted = self._to_judge(runs)
        if self.mode != "eval":
            if count := _count(wanted):
                said = f"the mode is {self.mode}; the judge needs --pandaprobe=eval"
                self._lines.append(f"{_skipped(count)}: {said}")
            return []
        from pandaprobe_otel.evals.suite_judging import judge_runs
        from pandaprobe_otel.evals.suite_output import Narrator

        judged = [run for run in wanted if run.passed]
        if not judged:
            return []
        narrator = Narrator(self._config.pluginmanager.get_plugin("terminalreporter"))
        found = judge_runs(judged, self.connection, say=narrator.say, show=narrator.show, problems=self.problems)
        if self.connection.judge is not None:
            from pandaprobe_otel.evals.local_judge import send_scores

            send_scores(found)
            self.connection.flush()
        return metric_verdicts(wanted, found, self.connection.trace_url())

    def pytest_unconfigure(self) -> None:
        """Restore the process, for the caller of pytest."""
        self.connection.close()

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Show all verdicts, including passed ones, and what was skipped."""
        lines = [*(f"{_MARK[v.outcome]}  {v.nodeid}  {v.summary}" for v in self._verdicts), *self._lines]
        lines += map(str, self.connection.caches.uses)
        lines += [f"not delivered: {problem}" for problem in self.problems]
        if lines:
            terminalreporter.section("pandaprobe")
            for line in lines:
                terminalreporter.line(line)


def _count(runs: list[TestRun]) -> int:
    return sum(len(group[0].demand.metrics) for group in by_test(runs).values())


def _skipped(count: int) -> str:
    return f"{count} verdict{'' if count == 1 else 's'} of the judge skipped"


def _note(report: pytest.TestReport, state: ItemState) -> None:
    """Note the outcome of a test, or of its fixtures if they fail."""
    state.passed, state.ran = report.passed, state.ran or not report.skipped
    if not report.failed:
        return
    tree = tree_text(state.recording.traces())
    if report.when == "call" and tree not in report.longreprtext:
        report.sections.append(("traces of the test", tree[:_MAX_TEXT]))
    crash = getattr(getattr(report.longrepr, "reprcrash", None), "message", None)
    state.failure = report.longreprtext[-_MAX_TEXT:]
    state.error = str(crash or report.longreprtext).strip()[:_MAX_TEXT] or "the test failed"


_MARK: Final = {Outcome.PASSED: "ok   ", Outcome.FAILED: "FAIL ", Outcome.NO_EVIDENCE: "?    "}


def demand_of(node: Any, metrics: Mapping[str, float | None]) -> Demand | None:
    """Return the options of a test's marker; None without one. Raises UsageError for an invalid marker.

    metrics: default metrics of a marker that names none. They do not apply to sessions, which have other metrics.
    """
    merged: dict[str, Any] = {}
    markers: list[pytest.Mark] = list(node.iter_markers("pandaprobe"))
    if not markers:
        return None
    for marker in reversed(markers):  # The closest marker comes last and overrides the others.
        if marker.args:
            raise pytest.UsageError(f"{node.nodeid}: the marker pandaprobe accepts only keyword arguments")
        merged.update(marker.kwargs)
    if metrics and "metrics" not in merged and not merged.get("session"):
        merged["metrics"] = metrics
    try:
        return Demand.of(**merged)
    except (TypeError, ValueError) as error:
        raise pytest.UsageError(f"{node.nodeid}: @pytest.mark.pandaprobe: {error}") from None


def is_recorded(item: pytest.Item) -> bool:
    """Return whether a test belongs in the report: it has the marker, or the fixture `probe`."""
    return item.get_closest_marker("pandaprobe") is not None or "probe" in getattr(item, "fixturenames", ())


def number_of(item: pytest.Item) -> int:
    """Return the number of the run that an item makes."""
    return int(item.stash.get(NUMBER, 1))


def _usable(option: str, action: Callable[[], T]) -> T:
    try:
        return action()
    except ValueError as error:
        raise pytest.UsageError(f"--pandaprobe-{option}: {error}") from None
