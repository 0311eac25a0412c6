"""Pytest plugin, as loaded by every test run of every user: its options, and hooks that load the rest.

Only the standard library and pytest are imported here. `pandaprobe_otel.evals` is loaded when a marker `pandaprobe`,
one of the fixtures or a mode other than `off` is used.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from pandaprobe_otel.evals.probe import Probe
    from pandaprobe_otel.evals.suite import Suite
    from pandaprobe_otel.local import LocalServer
    from pandaprobe_otel.replay.in_pytest import ItemRecording
    from pandaprobe_otel.replay.recording import Recording

_MODES: Final = ("off", "record", "eval")
_MARKER: Final = "pandaprobe"
_CASSETTE: Final = "pandaprobe_cassette"
_open_modes: list[str] = []
"""Modes of the current test runs; there may be several, because a test may run pytest in its own process."""
OPTIONS: Final = (
    ("", "{off,record,eval}", "off (default): traces stay in memory; record: they are sent; eval: sent and judged"),
    ("metrics", "NAMES", "metrics of marked tests that name none: task_completion,tool_correctness=0.8"),
    ("max-evals", "N", "with eval: start no evaluation when more than N would be billed"),
    ("report", "FILE", "write a report of the verdicts; the suffix is one of .html .md .json; may be repeated"),
    ("cache", "FILE", "with eval: take judgements about unchanged behaviour from this file, and add new ones"),
    ("refresh", "", "with the cache: judge anyway, and renew the judgements in the file"),
    ("judge", "MODEL", "with eval: a model that judges without a server, such as openai/gpt-4o-mini"),
    ("judge-url", "URL", "an OpenAI-compatible endpoint with that model, if not the provider's own"),
    ("allow-no-evidence", "", "with eval: skip tests without evidence for a verdict, instead of failing them"),
    ("timeout", "SECONDS", "with eval: longest wait for traces to become readable, and for a run of evaluations (600)"),
    ("deliver-within", "SECONDS", "longest wait for delivery at the end (default: 60)"),
    ("record", "{none,once,new,all}", "recordings: none plays only; once (default; in CI: none) records missing files"),
    ("cassettes", "DIR", "folder of the cassettes, instead of beside the tests"),
    ("diverge", "{fail,accept,rerecord,live}", "effect of a request that was not recorded (default: fail)"),
)
"""Name without `pandaprobe-`, value, help. Each option can also be set in the configuration file and in the
environment: `--pandaprobe-max-evals` as `pandaprobe_max_evals` and as `PANDAPROBE_PYTEST_MAX_EVALS`. Several reports
have a line each there."""
_LINE: Final = (
    "pandaprobe(metrics=(), threshold=0.5, repeat=1, min_pass=1.0, session=False, allow_vacuous=False, "
    "model=None): judge the traces of this test with PandaProbe's metrics"
)


_CASSETTE_LINE: Final = (
    "pandaprobe_cassette(path=None, mode=None, tools=False, ignore=(), scrub=None, allow_unused=False, "
    "diverge=None, ends_at=None): answer this test's model calls from a cassette"
)


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    """Add the options, also for the configuration file. Variables need no declaration."""
    _load_unchanged(pluginmanager)
    group = parser.getgroup("pandaprobe", "evaluation with PandaProbe")
    for name, value, text in OPTIONS:
        full = f"pandaprobe-{name}".rstrip("-")
        dest = full.replace("-", "_")
        kind: dict[str, Any] = {"metavar": value} if value else {"action": "store_const", "const": "1"}
        if name == "report":
            kind["action"] = "append"
        group.addoption(f"--{full}", dest=dest, default=None, help=text, **kind)
        parser.addini(dest, text, default=None)


def _load_unchanged(pluginmanager: pytest.PytestPluginManager) -> None:
    """Have our modules loaded as they are. Pytest would rewrite the assertions of every module beside a plugin.

    We have none for it, rewriting takes time, and on Python 3.11 it fails if another thread compiles at that moment. No
    public function takes a name from pytest's list.
    """
    marked: Any = getattr(getattr(pluginmanager, "rewrite_hook", None), "_must_rewrite", None)
    if isinstance(marked, set):
        marked.difference_update(("pandaprobe_otel", "pandaprobe_otel_integrations"))


@pytest.hookimpl(trylast=True)  # a conftest.py may set environment variables in its own hook
def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker, read the settings and start listening. Loads more only if a mode needs it."""
    config.addinivalue_line("markers", _LINE)
    config.addinivalue_line("markers", _CASSETTE_LINE)
    settings = settings_of(config)
    mode = settings[""] or "off"
    if mode not in _MODES:
        raise pytest.UsageError(f"--pandaprobe={mode}: the mode is not one of {', '.join(_MODES)}")
    plugin = config.stash[_PLUGIN] = LazyPlugin(config, settings)
    _open_modes.append(mode)
    config.pluginmanager.register(plugin, "pandaprobe_lazy_plugin")
    if mode != "off" or settings["report"] is not None:
        plugin.suite()


def pytest_unconfigure() -> None:
    """Forget the mode of a test run that has ended."""
    if _open_modes:
        _open_modes.pop()


def is_off() -> bool:
    """Return whether tests run here in the mode that sends nothing. If so, a first use starts nothing."""
    return bool(_open_modes) and _open_modes[-1] == "off"


def settings_of(config: pytest.Config) -> dict[str, str | None]:
    """Return the value of each option by its name without `pandaprobe-`; the mode has an empty name."""
    return {name: _setting(config, name) for name, _, _ in OPTIONS}


def _setting(config: pytest.Config, name: str) -> str | None:
    """Return a setting: the option, else `PANDAPROBE_PYTEST[_NAME]`, else the configuration file, else None."""
    dest = f"pandaprobe_{name}".rstrip("_").replace("-", "_")
    variable = f"PANDAPROBE_PYTEST_{name}".rstrip("_").replace("-", "_").upper()
    value: Any = config.getoption(dest) or os.environ.get(variable, "").strip() or config.getini(dest)
    if name == "report" and value and not isinstance(value, str):  # the option may be repeated
        return "\n".join(value)
    return str(value) if value else None


class LazyPlugin:
    """Hooks that cost nothing and load the rest when it is needed."""

    def __init__(self, config: pytest.Config, settings: Mapping[str, str | None]) -> None:
        self._config = config
        self._settings = settings
        self._suite: Suite | None = None

    def suite(self) -> Suite:
        """Return the plugin itself; the first call loads it."""
        if self._suite is None:
            from pandaprobe_otel.evals.suite import Suite

            self._suite = Suite(self._config, self._settings)
            self._config.pluginmanager.register(self._suite, "pandaprobe_suite")
        return self._suite

    def pytest_itemcollected(self, item: pytest.Item) -> None:
        """Load the rest with the first marked test."""
        if item.get_closest_marker(_MARKER) is not None:
            self.suite().demand_of(item)  # refuses an invalid marker before anything runs
        if item.get_closest_marker(_CASSETTE) is not None:
            names: list[str] = getattr(item, "fixturenames", [])
            if "pandaprobe_recording" not in names:
                names.append("pandaprobe_recording")  # last, because requests of other fixtures are not the test's

    def recording(self, item: pytest.Item) -> ItemRecording:
        """Return the recording of a test."""
        from pandaprobe_otel.replay.in_pytest import ItemRecording

        made = item.stash[_RECORDING] = ItemRecording(item, self._settings)
        return made

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, object, object]:
        """Fail a test whose calls differ from the recorded ones, even if it swallowed the exception."""
        try:
            result = yield
        except BaseException as error:
            if (made := item.stash.get(_RECORDING, None)) is not None:
                made.failed(error)
            raise
        if (made := item.stash.get(_RECORDING, None)) is not None:
            made.passed()
        return result

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep the results that a test reported, also if it ran in a worker of xdist."""
        if "pandaprobe" in report.__dict__:
            self.suite().observe(report)
        elif self._suite is not None and report.when == "setup":
            self._suite.observe(report)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Take over the traces that a worker of xdist could not deliver."""
        if problem := getattr(node, "workeroutput", {}).get("pandaprobe"):
            self.suite().problems.append(str(problem))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> Generator[None, object, object]:
        """Judge after the last test. An interruption, also by `-x`, passes as an exception; then nothing is judged."""
        try:
            result = yield
            if self._suite is not None:
                self._suite.conclude(session)
        except (KeyboardInterrupt, session.Failed, pytest.exit.Exception):
            if self._suite is not None:
                self._suite.abandon()
            raise
        return result


_PLUGIN: Final = pytest.StashKey[LazyPlugin]()
_RECORDING: Final[pytest.StashKey[ItemRecording]] = pytest.StashKey()


@pytest.fixture
def pandaprobe_recording(request: pytest.FixtureRequest) -> Iterator[Recording]:
    """Recording of this test: its calls, and when they were recorded. Marked tests always have one."""
    yield from request.config.stash[_PLUGIN].recording(request.node).open()


@pytest.fixture
def probe(request: pytest.FixtureRequest) -> Probe:
    """Traces of this test: assertions about spans, budgets, scores and judgements."""
    return request.config.stash[_PLUGIN].suite().probe(request.node)


@pytest.fixture
def pandaprobe_repetition(request: pytest.FixtureRequest) -> int:
    """Number of this run of a repeated test, from 1."""
    from pandaprobe_otel.evals.suite import number_of

    return number_of(request.node)


@pytest.fixture
def pandaprobe_server() -> Iterator[LocalServer]:
    """Empty local PandaProbe on a free port, for this test alone. Needs the extra `local`."""
    from pandaprobe_otel.local import LocalServer

    with LocalServer(limit=None) as server:
        yield server


@pytest.fixture(scope="session")
def pandaprobe_session_server() -> Iterator[LocalServer]:
    """Local PandaProbe on a free port for the whole session; tests share it. Needs the extra `local`."""
    from pandaprobe_otel.local import LocalServer

    with LocalServer(limit=None) as server:
        yield server
