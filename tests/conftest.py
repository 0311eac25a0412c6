"""Set-up of every test process, including pytest-xdist's workers, and the two rings of the tests.

`pytest` alone runs the inner ring: it checks every promise of the README in minutes, and needs only the extra `dev`.
`pytest -m ""` also runs the outer ring, which needs the extras `docs`, `lint` and `outer`. `@pytest.mark.outer` puts a
test into the outer ring. `OUTER_FILES` puts whole files there; the inner ring does not import them.
"""

# pyright: reportUnknownMemberType=false
# (from_parent() of pytest's nodes)

from __future__ import annotations

import ctypes
import functools
import gc
import math
import os
import re
import signal
import ssl
import sys
import warnings
from collections.abc import Generator, Iterator
from importlib import metadata
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import certifi
import pytest
from _pytest.runner import runtestprotocol

from pandaprobe_otel import bootstrap

# A shell without job control starts background jobs with SIGINT ignored, and child processes inherit this setting.
# They do not inherit a handler. Set one, so that Ctrl-C also ends the programs that the tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # otherwise litellm asks for prices when it is imported
os.environ.setdefault("MALLOC_ARENA_MAX", "1")  # many threads of servers come and go; saves workers a fifth of memory


def _load_certificates(context: ssl.SSLContext, cafile: str | None = None, *others: Any, **named: Any) -> None:
    """Leave out the public certificate authorities.

    Each client of httpx loads them, which takes longer than most tests, and no test trusts one of them.
    """
    if cafile != certifi.where():
        _load(context, cafile, *others, **named)


_load: Final = ssl.SSLContext.load_verify_locations
pytest.MonkeyPatch().setattr(ssl.SSLContext, "load_verify_locations", _load_certificates)

# `instrument()` compares versions, and each of them parses a page of metadata: a sixth of a short test's time.
pytest.MonkeyPatch().setattr(metadata, "distribution", functools.cache(metadata.distribution))
_read: Final = functools.cache(vars(metadata.Distribution)["metadata"].fget)
pytest.MonkeyPatch().setattr(metadata.Distribution, "metadata", property(_read))

HERE: Final = Path(__file__).parent
OUTER_FILES: Final = frozenset(
    HERE / name
    for name in (
        "api/test_tables.py",  # needs pandas
        "delivery/test_eight_processes.py",  # takes minutes at the rate limit, needs gunicorn
        "evals/test_report_in_browser.py",
        "integrations/conformance/test_forgotten_streams.py",  # scans every object of the process
        "integrations/test_litellm.py",
        "integrations/test_surface.py",  # calls every method of every client
        "local/pages/test_browser.py",
        "local/pages/test_every_page.py",
        "local/pages/test_hostile_content.py",
        "local/test_any_request.py",  # needs schemathesis
        "mapping/test_live.py",  # runs each instrumentor in its own process
        "replay/capture/test_ten_failures.py",  # starts fifty processes
        "mcp_server/test_inspector.py",  # starts Node.js some thirty times
        "mcp_server/test_protocol.py",  # imports MCP's SDK, which takes a second in each worker
        "migration/test_official_examples.py",  # runs the official SDK's examples, each twice
        "typing/test_types.py",  # needs mypy and pyright
    )
)

OUTER_LIBRARY: Final = "litellm"
"""A client library with tests in the outer ring alone: it imports 1,200 modules, and keeps 240 MB."""
OF_OUTER: Final = re.compile("mark.outer|IN_FULL|conformance.adapter")
NIGHT_FILES: Final = frozenset(
    HERE / name
    for name in (
        "delivery/test_eight_processes.py",
        "migration/test_official_examples.py",
        "replay/capture/test_ten_failures.py",
    )
)
"""Files of the outer ring that take at least a minute each; the inner ring has samples of their tests."""

TOGETHER: Final = (HERE / "docs", HERE / "evals", HERE / "integrations" / "conformance", HERE / "integrations")
"""Folders whose tests run in one worker each.

Only this worker imports all client libraries (5 s, 150 MB), or makes the servers and processes that tests fork from.
"""
_RETURN_MEMORY: Final = getattr(ctypes.CDLL(None), "malloc_trim", int)
"""Gives freed memory back to the system; a C library without it does so itself."""
_MUCH_MB: Final = 64
"""Growth of a worker after which all that earlier files have left is looked through: this takes a second or two."""
_MANY_MODULES: Final = 100
"""Imports of a file after which its growth counts as libraries, which nobody can give back."""
_held_mb = 0.0
"""Memory of this worker after it was last looked through."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Start two workers per core, since tests wait for processes and servers about as long as they compute."""
    return 2 * (os.cpu_count() or 1)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out files of the other ring: of the outer one, the extra `dev` does not install what they import.

    Three of four files have no test of the outer ring, and do not name its marks.
    """
    if collection_path.suffix != ".py":
        return None
    wanted = str(config.getoption("markexpr"))
    if wanted == "not outer":
        return True if collection_path in OUTER_FILES else None
    if wanted.startswith("outer") and collection_path not in OUTER_FILES:
        return True if not OF_OUTER.search(collection_path.read_text(encoding="utf-8")) else None
    return True if wanted == "outer and not exhaustive" and collection_path in NIGHT_FILES else None


class TestsOfFile(pytest.Item):
    """All tests of a file, in a worker of pytest-xdist that has not imported the file.

    The scheduler hands out whole files, so that it only needs their names. A worker imports and collects the files
    that it runs, when it runs them: were each of them to collect all files, this would be a quarter of the work.
    """

    def runtest(self) -> None:
        """Do nothing: the tests run in the place of this item."""


class LateFile(pytest.File):
    """A file of tests, before it is imported."""

    def collect(self) -> Iterator[TestsOfFile]:
        """Return the item in whose place the tests run."""
        yield TestsOfFile.from_parent(self, name=self.path.relative_to(HERE).as_posix())


def _is_late(config: pytest.Config) -> bool:
    """Return whether this is a worker for whole files; single tests, and tests of earlier runs, are collected first."""
    by_earlier_runs = (config.getoption(name, default=False) for name in ("lf", "failedfirst", "newfirst", "stepwise"))
    return hasattr(config, "workerinput") and not any(by_earlier_runs) and not any("::" in arg for arg in config.args)


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Leave the file for later; pytest-xdist gives to one worker what has one id before `::`."""
    if not _is_late(parent.config):
        return None
    together = (folder.as_posix() for folder in TOGETHER if folder in module_path.parents)
    return LateFile.from_parent(parent, path=module_path, nodeid=next(together, None))


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Iterator[None]:
    """Mark the tests of files of the outer ring, keep late files whatever is selected, and put the largest first."""
    late = [item for item in items if isinstance(item, TestsOfFile)]
    items[:] = [item for item in items if not isinstance(item, TestsOfFile)]
    for item in items:
        if item.path in OUTER_FILES or (OUTER_LIBRARY in item.name and HERE / "integrations" in item.path.parents):
            item.add_marker(pytest.mark.outer)
        if item.path in NIGHT_FILES:
            item.add_marker(pytest.mark.exhaustive)
    yield
    items += sorted(late, key=lambda item: item.path.stat().st_size, reverse=True)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Drop what earlier files have left, then collect and run the tests of a late file."""
    if not isinstance(item, TestsOfFile):
        return None
    global _held_mb
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # of clients that a library keeps, in no test that follows
        if _resident_mb() - _held_mb > _MUCH_MB:
            gc.unfreeze()
            gc.collect()
            _RETURN_MEMORY(0)
            _held_mb = _resident_mb()
        gc.collect()
    gc.freeze()  # tests that collect look at what their file has made, not at all libraries
    imported = len(sys.modules)
    _run_file(item, nextitem)
    if len(sys.modules) - imported > _MANY_MODULES:
        _held_mb = _resident_mb()
    return True


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable() -> Generator[None, Any, Any]:
    """Escape lone surrogates: pytest-xdist cannot send them, and a failure that shows one would end the whole run."""
    return _writable((yield))


def _writable(value: Any) -> Any:
    match value:
        case str():
            return value.encode(errors="backslashreplace").decode()
        case dict():
            return {_writable(key): _writable(inner) for key, inner in value.items()}
        case list() | tuple():
            return type(value)(map(_writable, value))
        case _:
            return value


def _resident_mb() -> float:
    """Return the memory of this process; infinity where the system does not tell."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    except OSError:
        return math.inf


def _run_file(item: TestsOfFile, nextitem: pytest.Item | None) -> None:
    session, place = item.session, item.session.items.index(item)
    module = pytest.Module.from_parent(item.listchain()[-3], path=item.path)
    tests = list(session.genitems(module))
    item.config.hook.pytest_collection_modifyitems(session=session, config=item.config, items=tests)
    for test, following in pairwise([*tests, nextitem]):
        assert test is not None
        session.items[place] = test  # pytest-xdist compares each report with it
        item.config.hook.pytest_runtest_protocol(item=test, nextitem=following)
        if session.shouldfail or session.shouldstop:
            break
    session.items[place] = item
    if tests:
        sys.modules.pop(module.obj.__name__)
    else:
        runtestprotocol(item, log=False, nextitem=nextitem)  # ends the fixtures of a folder that is left


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Report that no test was selected, which pytest-xdist cannot know of late files."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    distributes = session.config.getoption("dist", default="no") != "no"
    if session.config.getoption("collectonly") or not distributes or reporter is None:
        return
    if exitstatus == pytest.ExitCode.OK and "" not in reporter.stats:  # no test was set up
        session.exitstatus = pytest.ExitCode.NO_TESTS_COLLECTED


def pytest_configure(config: pytest.Config) -> None:
    """Make hypothesis try the same examples in each run; `--hypothesis-profile=default` tries new ones."""
    if config.pluginmanager.hasplugin("hypothesispytest") and not config.getoption("--hypothesis-profile"):
        from hypothesis import settings

        settings.register_profile("the same", derandomize=True, database=None, deadline=None)
        settings.load_profile("the same")


@pytest.fixture(autouse=True)
def no_silent_handle() -> None:
    """Forget an earlier test's handle that sends nothing; else `init()` would return it instead of a new handle."""
    earlier = bootstrap.current()
    if earlier is not None:
        bootstrap.forget(earlier)
