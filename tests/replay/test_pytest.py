"""pytest's marker, fixture and options for recordings, in suites that run as a user runs them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from provider_server import ProviderServer, json_reply
from suites import RunSuite, Suites

PROGRAM = """
import os
import httpx

def ask(question="one"):
    return httpx.post(os.environ["PROVIDER"], json={"model": "m", "q": question}).json()["echo"]["q"]
"""
MARKED = (
    PROGRAM
    + """
@pytest.mark.pandaprobe_cassette
def test_plain():
    assert ask() == "one"

@pytest.mark.pandaprobe_cassette("elsewhere/own.yaml", tools=True)
@pytest.mark.parametrize("question", ["a/b", "c d"])
def test_several(pandaprobe_recording, question):
    assert ask(question) == question
    assert len(pandaprobe_recording.calls) == 1

class TestClass:
    def test_method(self, pandaprobe_recording):
        ask("method")

def test_unmarked():
    pass
"""
)


@pytest.fixture(scope="module")
def suites() -> Iterator[Suites]:
    """Yield the process from which the suites are forked."""
    with closing(Suites()) as made:
        yield made


@pytest.fixture
def run_suite(suites: Suites, tmp_path: Path, server: ProviderServer) -> RunSuite:
    """Return a function that runs a suite, whose model provider echoes each request."""
    server.received.clear()
    server.script = lambda received: json_reply({"echo": received.json})
    return partial(suites.run, tmp_path, PROVIDER=server.url)


def cassettes(folder: Path) -> list[str]:
    """Return the cassettes below a folder."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.yaml"))


def test_recorded_and_played(run_suite: RunSuite, server: ProviderServer, tmp_path: Path) -> None:
    """Each test has a file with its name; the second run, in CI, sends nothing."""
    code = MARKED.replace('"elsewhere/own.yaml", ', "")
    assert run_suite(code).code == 0
    assert len(server.received) == 4
    found = cassettes(tmp_path)
    assert [re.sub(r"-[0-9a-f]{8}", "-#", name) for name in found] == [
        "cassettes/test_suite/TestClass.test_method.yaml",
        "cassettes/test_suite/test_plain.yaml",
        "cassettes/test_suite/test_several_a_b-#.yaml",
        "cassettes/test_suite/test_several_c_d-#.yaml",
    ]
    played = run_suite(code, CI="true")
    assert (played.code, len(server.received)) == (0, 4), played.out
    assert cassettes(tmp_path) == found


@pytest.mark.outer
def test_places_modes_and_workers(run_suite: RunSuite, server: ProviderServer, tmp_path: Path) -> None:
    """A marker's path is relative to the test file, or to the folder given by the option or its variable.

    Workers of xdist record like one process.
    """
    one = PROGRAM + "@pytest.mark.pandaprobe_cassette('own.yaml')\ndef test_x():\n    ask()\n"
    other = PROGRAM + "@pytest.mark.pandaprobe_cassette(mode='none')\ndef test_x():\n    ask()\n"
    assert run_suite(one).code == 0
    assert run_suite(one, "--pandaprobe-cassettes=kept", "-n", "2", plugins=("xdist",)).code == 0
    refused = run_suite(other, PANDAPROBE_PYTEST_CASSETTES="kept")
    assert "the cassette does not exist, and mode='none' only plays" in refused.out
    assert run_suite(other, "--pandaprobe-record=all", PANDAPROBE_PYTEST_CASSETTES="kept").code == 0
    assert cassettes(tmp_path) == ["kept/own.yaml", "kept/test_suite/test_x.yaml", "own.yaml"]
    assert len(server.received) == 3


def test_an_invalid_option_or_marker_is_an_error(run_suite: RunSuite) -> None:
    """An invalid option or marker is an error, and the test does not run."""
    code = "".join(
        f"@pytest.mark.pandaprobe_cassette{marker}\ndef test_{number}():\n    assert False, 'it ran'\n"
        for number, marker in enumerate(("(speed=3)", "('a', 'b')"))
    )
    for option, message in (
        ("--pandaprobe-record=often", "--pandaprobe-record=often must be one of none, once, new, all"),
        ("--pandaprobe-diverge=no", "--pandaprobe-diverge=no must be one of fail, accept, rerecord, live"),
    ):
        outcome = run_suite("@pytest.mark.pandaprobe_cassette\ndef test_x():\n    assert False, 'it ran'\n", option)
        assert outcome.code != 0
        assert message in outcome.out
        assert "it ran" not in outcome.out
    outcome = run_suite(code)
    assert "the marker pandaprobe_cassette does not accept speed" in outcome.out
    assert "the marker pandaprobe_cassette does not accept a second argument" in outcome.out
    assert "it ran" not in outcome.out


SWALLOWS = (
    PROGRAM
    + """
@pytest.mark.pandaprobe_cassette("own.yaml")
def test_x():
    for question in QUESTIONS:
        try:
            ask(question)
        except AssertionError:
            pass
"""
)


def test_a_swallowed_divergence_fails_the_test(run_suite: RunSuite, tmp_path: Path) -> None:
    """An unknown request and a missing call fail the test, even if the app catches the error."""
    assert run_suite("QUESTIONS = ['one', 'two']" + SWALLOWS).code == 0
    before = (tmp_path / "own.yaml").read_bytes()
    changed = run_suite("QUESTIONS = ['one', 'changed']" + SWALLOWS)
    assert changed.cases == {"test_x": "failure"}
    assert "Divergence at call 2 of 2" in changed.out
    assert "own.yaml:" in changed.out
    missing = run_suite("QUESTIONS = ['one']" + SWALLOWS)
    assert missing.cases == {"test_x": "failure"}
    assert "never made: call 2" in missing.out
    assert (tmp_path / "own.yaml").read_bytes() == before
    accepted = run_suite("QUESTIONS = ['one', 'changed']" + SWALLOWS, "--pandaprobe-diverge=accept")
    assert accepted.code == 0
    assert b"changed" in (tmp_path / "own.yaml").read_bytes()


def test_the_end_of_a_recording(run_suite: RunSuite) -> None:
    """After `ends_at`, `to_the_end()` ends its block; a test without this block fails with a hint."""
    recorded = PROGRAM + "@pytest.mark.pandaprobe_cassette('own.yaml')\ndef test_x():\n    ask(); ask('two')\n"
    assert run_suite(recorded).code == 0
    mended = (
        PROGRAM
        + """
@pytest.mark.pandaprobe_cassette("own.yaml", ends_at=1)
def test_x(pandaprobe_recording):
    with pandaprobe_recording.to_the_end():
        ask()
        ask("mended")
    assert False, "the assertion ran"

@pytest.mark.pandaprobe_cassette("own.yaml", ends_at=1)
def test_y():
    ask()
    ask("mended")
"""
    )
    outcome = run_suite(mended)
    assert outcome.cases == {"test_x": "failure", "test_y": "failure"}
    assert "the assertion ran" in outcome.out
    assert "with pandaprobe_recording.to_the_end():" in outcome.out


def test_together_with_the_probe(run_suite: RunSuite, server: ProviderServer) -> None:
    """Repeated tests are replayed each time; tools are replayed too, and the probe sees their spans."""
    code = (
        PROGRAM
        + """
RAN = []

@tool
def count(n):
    RAN.append(n)
    return len(RAN)

@agent
def program():
    return count(1), ask()

@pytest.mark.pandaprobe(repeat=3)
@pytest.mark.pandaprobe_cassette("own.yaml", tools=True)
def test_x(probe):
    assert program() == (1, "one")
    probe.spans.tool("count").called(times=1)
    assert len(RAN) <= 1
"""
    )
    for _ in ("recorded", "played"):
        outcome = run_suite(code)
        assert outcome.code == 0, outcome.out
    assert len(server.received) == 1


def test_tests_without_recordings_load_nothing_of_it(run_suite: RunSuite) -> None:
    """A suite without recordings does not import the replay modules."""
    code = """
import sys
def test_x():
    assert not [name for name in sys.modules if name.startswith("pandaprobe_otel.replay.")]
"""
    assert run_suite(code).code == 0
