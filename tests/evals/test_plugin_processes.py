"""Spans and their tests: threads, tasks, evaluations, an app that shut down; the process is unchanged afterwards."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from suites import RunSuite

CONCURRENT = """
import asyncio
import random
from concurrent.futures import ThreadPoolExecutor
import pytest_asyncio
from pandaprobe_otel import evaluate

early = ThreadPoolExecutor(1)
early.submit(int).result()  # its thread is older than any test

@pytest_asyncio.fixture
async def prepared():
    assistant("fixture")

@pytest.mark.asyncio
@pytest.mark.pandaprobe
async def test_tasks(probe, prepared):
    async def one(name):
        await asyncio.sleep(0)
        return assistant(name)
    await asyncio.gather(one("a"), one("b"))
    await asyncio.to_thread(assistant, "c")
    await asyncio.get_running_loop().run_in_executor(early, assistant, "d")
    assert sorted(trace.input for trace in probe.traces) == ["a", "b", "c", "d", "fixture"]
    assert all(len(trace.spans) == 3 for trace in probe.traces)

@pytest.mark.anyio
@pytest.mark.pandaprobe
async def test_anyio(probe):
    await asyncio.sleep(0)
    assistant("e")
    assert [trace.input for trace in probe.traces] == ["e"]

@pytest.fixture
def anyio_backend():
    return "asyncio"

@pytest.mark.pandaprobe
def test_threads(probe):
    thread = threading.Thread(target=assistant, args=("f",))
    thread.start()
    thread.join()
    early.submit(assistant, "g").result()
    assert sorted(trace.input for trace in probe.traces) == ["f", "g"]

def test_without_a_probe():
    assistant("nobody's")

@pytest.mark.pandaprobe
def test_nothing(probe):
    assert probe.traces == ()

seen = set()

@pytest.fixture
def seeded():
    random.seed(0)

@pytest.mark.pandaprobe(metrics=["task_completion"])
@pytest.mark.parametrize("question", ["one", "two", "three"])
def test_seeded_alike(probe, seeded, question):
    assistant(question)
    assert len(probe.traces) == 1
    assert probe.traces[0].trace_id not in seen
    seen.add(probe.traces[0].trace_id)

@pytest.mark.pandaprobe
def test_evaluates(probe):
    assistant("own")
    report = evaluate(["x", "y"], assistant, [lambda run: len(run.spans.tool("refund")) == 1], concurrency=2)
    assert report.passed, str(report)
    for case in report.cases:
        spans = [span["span_id"] for trace in case.traces for span in trace["spans"]]
        assert len(spans) == len(set(spans)) == 4
    assert [trace.input for trace in probe.traces] == ["own"]

@pytest.mark.pandaprobe
def test_cannot_be_judged(probe):
    with pytest.raises(Exception, match="sending is disabled by init.enabled=False., or by pytest without"):
        evaluate(["x"], assistant, "task_completion")
"""


def test_threads_and_tasks_belong_to_their_test(run_suite: RunSuite) -> None:
    """Spans in fixtures, tasks, older threads and evaluations belong to their test, and no two traces have one id."""
    outcome = run_suite(CONCURRENT, "-oasyncio_default_fixture_loop_scope=function", plugins=("asyncio", "anyio"))
    assert set(outcome.cases.values()) == {"passed"}, outcome.out
    assert len(outcome.cases) == 10


LEAVES_NOTHING = '''
import os
import textwrap
import pandaprobe_otel
from pandaprobe_otel.bootstrap import CONTENT_SWITCHES, current
from pandaprobe_otel.registry import instrumented

INNER = """
import os
import pytest
from pandaprobe_otel.registry import instrumented

@pytest.mark.pandaprobe
def test_inner(probe):
    assert "openai" in [result.name for result in instrumented()]
    assert os.environ["OTEL_SEMCONV_STABILITY_OPT_IN"] == "gen_ai_latest_experimental"
"""

def test_outer(tmp_path):
    (tmp_path / "test_inner.py").write_text(INNER)
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    ours = ["-ppandaprobe_otel.pytest_plugin", "-pno:cacheprovider"]
    for _ in range(2):
        assert pytest.main([*ours, "-cNUL", f"--rootdir={tmp_path}", str(tmp_path)]) == 0
        assert (current(), instrumented()) == (None, ())
        assert {name for name in os.environ if name in CONTENT_SWITCHES} == set()
    assert pandaprobe_otel.init(api_key="sk_pp_1", endpoint="http://127.0.0.1:9", instrument=False).enabled
'''


def test_a_suite_leaves_its_process_as_it_was(run_suite: RunSuite) -> None:
    """A program that runs pytest keeps its libraries, its environment, and a working `init()`."""
    outcome = run_suite(LEAVES_NOTHING.replace("-cNUL", "-c/dev/null"), PANDAPROBE_SHUTDOWN_TIMEOUT="0")
    assert outcome.cases == {"test_outer": "passed"}, outcome.out


BORROWED = """
import os
import threading
import pandaprobe_otel
from pandaprobe_otel import evaluate
from pandaprobe_otel.bootstrap import CONTENT_SWITCHES
from pandaprobe_otel.registry import instrument, instrumented, uninstrument

def names():
    return {result.name for result in instrumented()}

def switches():
    return {name: os.environ[name] for name in CONTENT_SWITCHES if name in os.environ}

def test_two_at_once():
    first_may_end, second_runs = threading.Event(), threading.Event()
    seen = []

    def first(value):
        assert first_may_end.wait(60)
        seen.append(("first", names(), switches()))

    def second(value):
        second_runs.set()
        one.join(60)
        seen.append(("second", names(), switches()))

    one = threading.Thread(target=evaluate, args=([1], first))
    two = threading.Thread(target=evaluate, args=([1], second))
    one.start()
    two.start()
    assert second_runs.wait(60)
    first_may_end.set()
    two.join(60)
    assert [(who, "openai" in libraries, found == CONTENT_SWITCHES) for who, libraries, found in seen] == [
        ("first", True, True), ("second", True, True)
    ]
    assert (names(), switches()) == (set(), {})

def test_earlier_instrumentation_stays(monkeypatch):
    monkeypatch.setenv("OTEL_SEMCONV_STABILITY_OPT_IN", "mine")
    instrument("openai")
    evaluate([1], lambda value: value)
    assert (names(), switches()) == ({"openai"}, {"OTEL_SEMCONV_STABILITY_OPT_IN": "mine"})
    uninstrument("openai")

def test_a_task_that_fails_or_is_interrupted_leaves_nothing():
    def interrupted(value):
        raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt):
        evaluate([1], interrupted)
    assert not evaluate([1], lambda value: 1 / 0).passed
    assert (names(), switches()) == (set(), {})

def test_an_init_that_sends_takes_over():
    def app(value):
        pandaprobe_otel.init(api_key="sk_pp_1", endpoint="http://127.0.0.1:9")
    evaluate([1], app)
    assert "openai" in names()
    assert switches() == CONTENT_SWITCHES
"""


def test_evaluate_undoes_what_it_instruments(run_suite: RunSuite) -> None:
    """The last of concurrent evaluations undoes the instrumentation, except that of the app or of `init()`."""
    outcome = run_suite(BORROWED, PANDAPROBE_SHUTDOWN_TIMEOUT="0")
    assert set(outcome.cases.values()) == {"passed"}, outcome.out
    assert len(outcome.cases) == 4


SAME_IDS = """
from itertools import count
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.id_generator import IdGenerator

class Same(IdGenerator):
    spans = count(1)

    def generate_trace_id(self):
        return 7

    def generate_span_id(self):
        return next(self.spans)

trace.set_tracer_provider(TracerProvider(id_generator=Same()))

@pytest.mark.pandaprobe
@pytest.mark.parametrize("question", ["one", "two"])
def test_x(probe, question):
    assistant(question)
    assert [trace.input for trace in probe.traces] == [question]
"""


def test_a_trace_id_that_comes_again_is_of_the_test_that_runs(run_suite: RunSuite) -> None:
    """A repeated trace id, as from a seeded id generator, belongs to the test that is running."""
    outcome = run_suite(SAME_IDS)
    assert outcome.cases == {"test_x[one]": "passed", "test_x[two]": "passed"}, outcome.out


PROGRAM = """
import pandaprobe_otel
from pandaprobe_otel.evals import evaluate
from pandaprobe_otel.registry import instrumented, uninstrument

pandaprobe_otel.init(local="traces.jsonl", instrument=["openai"])
pandaprobe_otel.shutdown()
uninstrument("openai")

def task(question):
    return "openai" in {result.name for result in instrumented()}

print(evaluate(["?"], task).cases[0].output)
"""


def test_libraries_are_instrumented_again(tmp_path: Path) -> None:
    """After `shutdown()`, evaluation instruments the libraries again to record model calls."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=tmp_path, capture_output=True, text=True, timeout=60)

    assert done.stdout.strip() == "True", done.stderr
