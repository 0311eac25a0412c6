"""The pytest plugin itself: it records tests, decides about repetitions, and judges after the last test."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, Final, Literal, Self, TypeVar

import pytest

from pandaprobe_otel.evals.judging import Judgements, UnknownMetric
from pandaprobe_otel.evals.probe import Probe
from pandaprobe_otel.evals.progress import Tally, Ticker
from pandaprobe_otel.evals.recorder import RECORDER, Recording
from pandaprobe_otel.evals.report import REPEAT, CaseResult, Report, check_form
from pandaprobe_otel.evals.report_blocks import add_summary, error_commands
from pandaprobe_otel.evals.suite_connection import Connection, is_set
from pandaprobe_otel.evals.suite_repetition import NUMBER, run_repeatedly
from pandaprobe_otel.evals.task_runs import TaskRun, case_result, count_runs, questions_of, targets_of
from pandaprobe_otel.evals.verdicts import Demand, MetricResult, Outcome, parse_metrics
from pandaprobe_otel.reporting.trace_links import page_of
from pandaprobe_otel.traces.records import TraceRecord
from pandaprobe_otel.traces.text import tree_text

T = TypeVar("T")

_MAX_TEXT: Final = 8_000
_MARK: Final = {Outcome.PASSED: "ok   ", Outcome.FAILED: "FAIL ", Outcome.NO_EVIDENCE: "?    "}


@dataclass(slots=True, kw_only=True)
class ItemState:
    """State of the current attempt of a test, as far as it is known."""

    recording: Recording
    outer: Recording | None
    """The recording to restore after the attempt. An outer suite has one if this suite runs inside a test."""
    demand: Demand
    scores: dict[str, float | bool | str]
    ran: bool = False
    """False if it was skipped."""
    error: str | None = None


_STATE: Final = pytest.StashKey[ItemState]()


@dataclass(frozen=True, kw_only=True)
class RecordedTest:
    """The runs of a test that were not skipped. A worker of xdist sends them as plain values."""

    nodeid: str
    location: tuple[str, int | None, str]
    order: int
    """Index in the collection."""
    recorded: int
    """Number of tests in the collection that have the marker or the fixture `probe`."""
    demand: Demand
    runs: tuple[TaskRun, ...]

    @classmethod
    def from_report(cls, report: pytest.TestReport) -> Self:
        """Read the plain values in the last report of a test."""
        plain = report.__dict__["pandaprobe"]
        demand = Demand.from_dict(plain["demand"])
        runs: list[TaskRun] = []
        for run in plain["runs"]:
            traces = list(map(TraceRecord, run["traces"]))
            targets = () if run["error"] is not None else targets_of(traces, session=demand.session)
            fields = {"error": run["error"], "number": run["number"], "targets": targets}
            runs.append(TaskRun.of_traces(report.nodeid, traces, **fields))
        fields = {name: plain[name] for name in ("order", "recorded")}
        return cls(nodeid=report.nodeid, location=report.location, demand=demand, runs=tuple(runs), **fields)

    def result(self, found: Judgements | None) -> CaseResult:
        """Return the result, without metrics if nothing was judged or the test itself has not passed."""
        demand = self.demand if found is not None and self.own.passed else replace(self.demand, metrics={})
        return case_result(self.runs, found or {}, demand, is_test=True)

    @cached_property
    def own(self) -> CaseResult:
        """The result of the test itself."""
        return case_result(self.runs, {}, replace(self.demand, metrics={}), is_test=True)

    def location_of(self, metric: str) -> tuple[str, int | None, str]:
        """Return the location of a metric's verdict."""
        file, line, name = self.location
        return file, line, f"{name}::pandaprobe[{metric}]"

    def story(self, result: MetricResult, trace_url: str | None) -> str:
        """Return the explanation of a verdict, for the reader of a failure: each run that has not passed."""
        outcomes, repetition = result.outcomes, result.repetition
        shown = [number for number, outcome in enumerate(outcomes) if outcome is not Outcome.PASSED] or [0]
        parts = [repetition.text(outcomes)] if repetition.repeat > 1 else []
        for number in shown:
            run, worst = self.runs[number], result.worst(number)
            pages = filter(None, (page_of(trace.trace_id, trace_url) for trace in run.traces))
            sessions = [f"session {target}" for target in run.targets] if self.demand.session else []
            why = f"run {run.number}: {run.error}" if worst is None else worst.text(result.metric, result.threshold)
            parts.append("\n".join([why, *sessions, *pages, "", tree_text(run.traces)[:_MAX_TEXT]]).rstrip())
        return "\n\n".join(parts)


class Suite:
    """The suite of a test run that uses PandaProbe; one per process."""

    def __init__(self, config: pytest.Config, settings: Mapping[str, str | None]) -> None:
        self._config = config
        self.mode = settings.get("") or "off"
        self._reports = [line.strip() for line in (settings.get("report") or "").splitlines() if line.strip()]
        self._metrics = _usable("metrics", lambda: parse_metrics(settings.get("metrics")))
        for path in self._reports:
            _usable("report", partial(check_form, path))
        self.problems: list[str] = []
        self._tests: dict[str, RecordedTest] = {}
        self._order: dict[str, int] = {}
        self._recorded = 0
        self._allows_no_evidence = is_set(settings, "allow-no-evidence")
        self._lines: list[str] = []
        self._cases: list[CaseResult] = []
        self._terminal = Narrator(config)
        self.connection = Connection(self.mode, settings)

    # -- collection ---------------------------------------------------------------------------------------------------

    def demand_of(self, node: Any) -> Demand:
        """Return the options of a test's marker. Raises UsageError for an invalid marker.

        The metrics of the option are those of a marker that names none. They do not apply to sessions, which have other
        metrics.
        """
        merged: dict[str, Any] = {}
        markers: list[pytest.Mark] = list(node.iter_markers("pandaprobe"))
        if not markers:
            return Demand()
        for marker in reversed(markers):  # The closest marker comes last and overrides the others.
            if marker.args:
                raise pytest.UsageError(f"{node.nodeid}: the marker pandaprobe accepts only keyword arguments")
            merged.update(marker.kwargs)
        if self._metrics and "metrics" not in merged and not merged.get("session"):
            merged["metrics"] = self._metrics
        try:
            return Demand.of_marker(**merged)
        except (TypeError, ValueError) as error:
            raise pytest.UsageError(f"{node.nodeid}: @pytest.mark.pandaprobe: {error}") from None

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """In the mode eval, refuse unknown metrics before the tests run."""
        self._order = {item.nodeid: number for number, item in enumerate(session.items)}
        self._recorded = sum(is_recorded(item) for item in session.items)
        if self.mode != "eval" or self._is_worker:
            return
        asked = [(item, demand) for item in session.items if (demand := self.demand_of(item)).metrics]
        if not asked:
            return
        of_traces, of_sessions = (
            {name for _, demand in asked if demand.session is whole for name in demand.metrics}
            for whole in (False, True)
        )
        try:
            self.connection.judging.check(self.connection.client, of_traces=of_traces, of_sessions=of_sessions)
        except UnknownMetric as error:
            by_option = error.metric in self._metrics and not error.of_sessions
            item = next(i for i, d in asked if error.metric in d.metrics and d.session is error.of_sessions)
            who = "--pandaprobe-metrics" if by_option else f"{item.nodeid}: @pytest.mark.pandaprobe"
            raise pytest.UsageError(f"{who}: {error}") from None

    @property
    def _is_worker(self) -> bool:
        """True in a worker of xdist."""
        return hasattr(self._config, "workerinput")

    # -- one test -----------------------------------------------------------------------------------------------------

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
        """Run a test as often as its marker says. pytest runs the other tests."""
        demand = self.demand_of(item)
        if demand.repetition.repeat == 1:
            return None
        # The judge may still reject a passed run, so enough passed runs are not a reason to stop.
        goes_on = bool(demand.metrics) and self.mode == "eval"
        run_repeatedly(item, nextitem, demand.repetition, may_stop=lambda found: found == "out of reach" or not goes_on)
        return True

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Start recording."""
        if is_recorded(item):
            self._begin(item, self.demand_of(item))

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
            report.__dict__["pandaprobe"] = self._plain(item, state)
            RECORDER.begin(state.outer)
            state.recording.close()
            del item.stash[_STATE]
        return report

    def probe(self, item: pytest.Item) -> Probe:
        """Return the fixture's object for a test."""
        state = item.stash.get(_STATE, None) or self._begin(item, self.demand_of(item))
        self._listen()
        return Probe(state.recording, state.scores)

    def _begin(self, item: pytest.Item, demand: Demand) -> ItemState:
        recording = Recording(session=f"pytest-{uuid.uuid4()}" if demand.session else None)
        RECORDER.attach(create=False)
        state = item.stash[_STATE] = ItemState(
            recording=recording, outer=RECORDER.begin(recording), demand=demand, scores={}
        )
        return state

    def _listen(self) -> None:
        self.connection.open()
        RECORDER.attach(create=True)
        self.connection.instrument()

    def _plain(self, item: pytest.Item, state: ItemState) -> dict[str, Any]:
        keeps = self.mode == "eval" or bool(self._reports)
        traces = [trace.body for trace in state.recording.traces()] if keeps else []
        return {
            "demand": state.demand.to_dict(),
            "order": self._order.get(item.nodeid, 0),
            "recorded": self._recorded,
            "runs": [{"number": number_of(item), "error": state.error, "traces": traces}] if state.ran else [],
        }

    # -- the end ------------------------------------------------------------------------------------------------------

    def observe(self, report: pytest.TestReport) -> None:
        """Keep the last attempt of each test. The setup of a new attempt voids the previous one."""
        if report.when == "setup":
            self._tests.pop(report.nodeid, None)
        elif "pandaprobe" in report.__dict__:
            self._tests[report.nodeid] = RecordedTest.from_report(report)
            if self.mode != "off" and not self._is_worker:
                self._terminal.follow(self._tests.values())

    def conclude(self, session: pytest.Session) -> None:
        """Deliver, judge and report."""
        problem = self.connection.flush()
        if self._is_worker:
            output: dict[str, Any] | None = getattr(self._config, "workeroutput", None)
            if problem and output is not None:
                output["pandaprobe"] = problem
            return
        if problem:
            self.problems.append(problem)
        tests = self._in_order()
        found = self._judged(tests)
        self._cases = [test.result(found) for test in tests]
        for test, case in zip(tests, self._cases, strict=True):
            emit(session, test, case, self._trace_url, allow_no_evidence=self._allows_no_evidence)
        report = self._report(complete=True)
        if self.mode == "eval" and report.cases:
            add_summary(report.to_markdown(), os.environ)
            if os.environ.get("GITHUB_ACTIONS") == "true":
                places = {test.nodeid: test.location[:2] for test in tests}
                self._lines += error_commands(report, places, allow_no_evidence=self._allows_no_evidence)

    def abandon(self) -> None:
        """Report that nothing was judged, because the tests were interrupted."""
        if self._is_worker:
            return
        tests = self._in_order()
        self._cases = [test.own for test in tests]
        self._skip(tests, "the test run was stopped")
        self._report(complete=False)

    def _in_order(self) -> list[RecordedTest]:
        """Return the tests that ran, in the order of the collection, even if xdist workers ran them."""
        return sorted((test for test in self._tests.values() if test.runs), key=lambda test: test.order)

    def _report(self, *, complete: bool) -> Report:
        """Return the report, and write it if requested. If the tests were stopped, it has no evidence on the rest."""
        report = Report(
            name="test suite",
            cases=tuple(self._cases),
            notes=self._notes,
            complete=complete,
            trace_url=self._trace_url,
        )
        for path in self._reports:
            try:
                report.save(path)
            except OSError as error:
                raise pytest.UsageError(f"--pandaprobe-report: {error}") from None
        return report

    @cached_property
    def _trace_url(self) -> str | None:
        """Address of trace pages, for which the server may be asked."""
        return self.connection.trace_url() if self._reports or self.mode == "eval" else None

    @property
    def _notes(self) -> tuple[str, ...]:
        lost = (f"not delivered: {problem}" for problem in self.problems)
        return (*self._lines, *self.connection.judging.cache.uses, *lost)

    def _skip(self, tests: Sequence[RecordedTest], why: str) -> None:
        if count := sum(len(test.demand.metrics) for test in tests if test.own.passed):
            self._lines.append(f"{count} verdict{'' if count == 1 else 's'} of the judge skipped: {why}")

    def _judged(self, tests: Sequence[RecordedTest]) -> Judgements | None:
        if self.mode != "eval":
            self._skip(tests, f"the mode is {self.mode}; the judge needs --pandaprobe=eval")
            return None
        wanted = [test for test in tests if test.demand.metrics and test.own.passed]
        if not wanted:
            return {}
        questions = [question for test in wanted for run in test.runs for question in questions_of(run, test.demand)]
        terminal = self._terminal
        terminal.start()
        judging, connect = self.connection.judging, self.connection.client
        found = judging.judged(questions, connect, say=terminal.say, show=terminal.show, delivered=not self.problems)
        if judging.judge is not None:
            self.connection.flush()
        return found

    def pytest_unconfigure(self) -> None:
        """Restore the process, for the caller of pytest."""
        self.connection.close()

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Show all verdicts, including passed ones, and what was skipped."""
        verdicts = [(case.id, result) for case in self._cases for result in case.results]
        lines = [f"{_MARK[result.outcome]}  {nodeid}  {result.text}" for nodeid, result in verdicts]
        lines += self._notes
        if lines:
            terminalreporter.section("pandaprobe")
            for line in lines:
                terminalreporter.line(line)


def emit(
    session: pytest.Session, test: RecordedTest, case: CaseResult, trace_url: str | None, *, allow_no_evidence: bool
) -> None:
    """Report each verdict of the judge as a separate test, `test_x::pandaprobe[metric]`."""
    hook = session.config.hook
    for result in case.results:
        if result.metric == REPEAT:
            continue
        session.testscollected += 1  # Otherwise the progress exceeds 100 %.
        nodeid, location = f"{test.nodeid}::pandaprobe[{result.metric}]", test.location_of(result.metric)
        hook.pytest_runtest_logstart(nodeid=nodeid, location=location)
        for report in outcome_reports(test, result, trace_url, allow_no_evidence=allow_no_evidence):
            hook.pytest_runtest_logreport(report=report)
        hook.pytest_runtest_logfinish(nodeid=nodeid, location=location)
        # `--lf` can only run tests, so it gets the test in place of the verdict.
        plugin: Any = session.config.pluginmanager.get_plugin("lfplugin")
        if plugin is not None:
            plugin.pytest_runtest_logreport(report=_call_report(nodeid, test, "passed"))
            if not result.passed:
                plugin.pytest_runtest_logreport(report=_call_report(test.nodeid, test, "failed"))


def _call_report(nodeid: str, test: RecordedTest, outcome: Literal["passed", "failed"]) -> pytest.TestReport:
    return pytest.TestReport(
        nodeid=nodeid, location=test.location, keywords={}, outcome=outcome, longrepr=None, when="call"
    )


def outcome_reports(
    test: RecordedTest, result: MetricResult, trace_url: str | None = None, *, allow_no_evidence: bool
) -> list[pytest.TestReport]:
    """Return the reports of a verdict.

    A failed verdict fails like a test. A verdict without evidence is an error, as in a fixture, or skipped if allowed.
    """
    location = test.location_of(result.metric)
    failing: Literal["setup", "call"] = "setup" if result.outcome is Outcome.NO_EVIDENCE else "call"
    phases: list[Literal["setup", "call", "teardown"]] = ["setup", "teardown"]
    if failing == "call":
        phases.insert(1, "call")
    bad: Literal["failed", "skipped"] = "failed"
    shown: Any = test.story(result, trace_url)
    if failing == "setup" and allow_no_evidence:
        bad, shown = "skipped", (location[0], location[1] or 0, f"Skipped: {result.text}")
    numbers = {"value": result.value, "threshold": result.threshold}
    properties = [(f"pandaprobe_{name}", f"{number:g}") for name, number in numbers.items() if number is not None]
    return [
        pytest.TestReport(
            nodeid=f"{test.nodeid}::pandaprobe[{result.metric}]",
            location=location,
            keywords={"pandaprobe": 1},
            outcome=bad if not result.passed and when == failing else "passed",
            longrepr=shown if not result.passed and when == failing else None,
            when=when,
            # JUnit XML takes the properties of the last phase.
            user_properties=properties if when == "teardown" else (),
        )
        for when in phases
    ]


class Narrator:
    """Lines and progress in the terminal, every 10 s."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._ticker: Ticker | None = None

    @property
    def _reporter(self) -> Any:
        return self._config.pluginmanager.get_plugin("terminalreporter")

    def start(self) -> None:
        """Start the judge's part."""
        self._ticker = Ticker(self.say)

    def say(self, line: str) -> None:
        """Write a line, after the line of dots, which pytest does not track with xdist."""
        if self._reporter is None:
            return
        self._reporter.ensure_newline()
        writer = self._config.get_terminal_writer()
        if writer.width_of_current_line:
            writer.line()
        self._reporter.write_line(f"pandaprobe: {line}")

    def follow(self, tests: Collection[RecordedTest]) -> None:
        """Write the progress of the recorded tests, if it is due. On a terminal, pytest itself shows it."""
        if self._reporter is None or self._reporter.isatty:
            return
        self._ticker = self._ticker or Ticker(self.say)
        self._ticker.tick(lambda: _tally(tests))

    def show(self, state: Tally) -> None:
        """Write the progress of a run, if it is due."""
        if self._ticker is not None:
            self._ticker.tick(lambda: state)


def _tally(tests: Collection[RecordedTest]) -> Tally:
    tally = Tally(what="traced tests", total=max(test.recorded for test in tests))
    for test in tests:
        count_runs(tally, test.runs, test.demand)
    return tally


def _note(report: pytest.TestReport, state: ItemState) -> None:
    """Note the outcome of a test, or of its fixtures if they fail."""
    state.ran = state.ran or not report.skipped
    state.error = None
    if not report.failed:
        return
    tree = tree_text(state.recording.traces())
    if report.when == "call" and tree not in report.longreprtext:
        report.sections.append(("traces of the test", tree[:_MAX_TEXT]))
    crash = getattr(getattr(report.longrepr, "reprcrash", None), "message", None)
    state.error = str(crash or report.longreprtext).strip()[:_MAX_TEXT] or "the test failed"


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
