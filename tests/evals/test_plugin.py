"""The pytest plugin, offline and with a scripted judge: real suites, runs and polling."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from pandaprobe_otel.api import Client
from pandaprobe_otel.evals import Report
from pandaprobe_otel.local import LocalServer
from suites import RunSuite

MARKED = """
@pytest.mark.pandaprobe(metrics={"task_completion": 0.7, "step_efficiency": 0.5})
def test_good(probe):
    assistant("x")
    probe.spans.tool("look_up").called(times=1).before("refund")

@pytest.mark.pandaprobe(metrics=["task_completion"], threshold=0.95)
def test_strict(probe):
    thread = threading.Thread(target=assistant, args=("y",))
    thread.start()
    thread.join()

@pytest.mark.pandaprobe(metrics=["task_completion"])
def test_broken(probe):
    assistant("z")
    probe.spans.tool("refund").not_called()
"""

BOTH_VERDICTS = {
    "test_good": "passed",
    "test_good::pandaprobe[task_completion]": "passed",
    "test_good::pandaprobe[step_efficiency]": "passed",
    "test_strict": "passed",
    "test_strict::pandaprobe[task_completion]": "failure",
    "test_broken": "failure",
}


def test_eval_reports_each_verdict_as_a_test(judged: RunSuite, server: LocalServer) -> None:
    """Verdicts appear in JUnit, terminal and exit code, after the number of evaluations."""
    outcome = judged(MARKED)
    assert outcome.cases == BOTH_VERDICTS, outcome.out
    (page,) = re.findall(rf"^({server.url}/ui/traces/[0-9a-f-]+)$", outcome.out, re.MULTILINE)
    assert httpx.get(page, follow_redirects=True).status_code == 200
    assert outcome.code == 1
    bill = "1 trace × 2 metrics + 1 trace × 1 metric = 3 evaluations"
    assert bill in outcome.out.replace("1 trace × 1 metric + 1 trace × 2 metrics", bill.partition(" =")[0])
    assert "task_completion 0.90 < 0.95: fake verdict" in outcome.out
    assert outcome.properties["test_strict::pandaprobe[task_completion]"] == {
        "pandaprobe_value": "0.9",
        "pandaprobe_threshold": "0.95",
    }
    assert re.search(r"FAILED test_suite.py::test_strict::pandaprobe\[task_completion\]", outcome.out)
    assert "%]" not in outcome.out or not re.search(r"1[0-9]{2}%\]", outcome.out.replace("[100%]", ""))


def test_a_green_suite_is_green_and_last_failed_knows_no_verdicts(judged: RunSuite) -> None:
    """If all verdicts pass, the exit code is 0; otherwise `--lf` runs the test whose verdict failed."""
    code = MARKED.split("@pytest.mark.pandaprobe(metrics=[")[0] + MARKED.split("\n\n")[1]
    assert judged(code, "-k", "good").code == 0
    assert judged(code).code == 1
    again = judged(code, "--lf")
    assert set(again.cases) == {"test_strict", "test_strict::pandaprobe[task_completion]"}


HONEST = """
import asyncio
@pytest.mark.pandaprobe(metrics=["coherence"])
def test_vacuous(probe):
    with tool("t"):
        pass

@pytest.mark.pandaprobe(metrics=["coherence"], allow_vacuous=True)
def test_vacuous_allowed(probe):
    with tool("t"):
        pass

@pytest.mark.pandaprobe(metrics=["plan_quality"])
def test_metric_fails(probe):
    assistant("x")

@pytest.mark.pandaprobe(metrics=["task_completion"])
def test_no_trace(probe):
    assert probe.traces == ()

@pytest.mark.pandaprobe(metrics=["agent_reliability"], session=True)
def test_session(probe):
    assistant("x")
    assistant("y")

@agent
async def waits(question):
    await asyncio.sleep(60)

async def cancelled():
    task = asyncio.ensure_future(waits("x"))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

@pytest.mark.pandaprobe(metrics=["task_completion"], threshold=0.1)
def test_cancelled(probe):
    asyncio.run(cancelled())

@pytest.mark.pandaprobe(metrics=["task_completion"], threshold=0.1, allow_vacuous=True)
def test_cancelled_allowed(probe):
    asyncio.run(cancelled())
"""


def test_verdicts_are_honest(judged: RunSuite, server: LocalServer, tmp_path: Path) -> None:
    """Nothing to judge, a failing metric, no traces and a cancelled trace are no evidence, and errors for pytest."""
    server.judge.fail("plan_quality", "the provider is on strike")
    outcome = judged(HONEST, "--pandaprobe-report=r.json")
    reported = {case.id.rpartition("::")[2]: case.outcome for case in Report.load(tmp_path / "r.json").cases}
    assert reported == {
        "test_vacuous": "no evidence",
        "test_vacuous_allowed": "passed",
        "test_metric_fails": "no evidence",
        "test_no_trace": "no evidence",
        "test_session": "failed",
        "test_cancelled": "no evidence",
        "test_cancelled_allowed": "passed",
    }
    assert {name: value for name, value in outcome.cases.items() if "::" in name} == {
        "test_vacuous::pandaprobe[coherence]": "error",
        "test_vacuous_allowed::pandaprobe[coherence]": "passed",
        "test_metric_fails::pandaprobe[plan_quality]": "error",
        "test_no_trace::pandaprobe[task_completion]": "error",
        "test_session::pandaprobe[agent_reliability]": "failure",
        "test_cancelled::pandaprobe[task_completion]": "error",
        "test_cancelled_allowed::pandaprobe[task_completion]": "passed",
    }, outcome.out
    assert "the trace is cancelled: only part of it was judged" in outcome.out
    assert "coherence is inconclusive: there was nothing to judge" in outcome.out
    assert "plan_quality could not be judged: Metric execution failed: the provider is on strike" in outcome.out
    assert "there is nothing to judge: no trace was made" in outcome.out


IN_PROGRAM = """
def test_in_program(probe):
    from pandaprobe_otel import evaluate
    assistant("now")
    def task(question):
        assistant(question)
        if question == "crash":
            raise ValueError("cannot")
    report = evaluate(["x", "crash"], task, {"task_completion": 0.7}, concurrency=2)
    assert [case.outcome for case in report.cases] == ["passed", "failed"]
"""


@pytest.mark.parametrize("auth", [False, True])
def test_eval_at_a_local_server_without_a_key(run_suite: RunSuite, tmp_path: Path, auth: bool) -> None:
    """An open local server judges without a key; one that requires a key gives verdicts without evidence.

    This applies to tests, to verdicts within a test, and to `evaluate()`.
    """
    code = MARKED + IN_PROGRAM
    with LocalServer(auth=auth, scripted_judge=True) as server:
        options = ("--pandaprobe=eval", "--pandaprobe-deliver-within=1")
        outcome = run_suite(code, *options, PANDAPROBE_ENDPOINT=server.url, PANDAPROBE_PROJECT_NAME="keyless")
    assert "INTERNALERROR" not in outcome.out
    assert outcome.verdicts["test_good::pandaprobe[task_completion]"] == ("error" if auth else "passed"), outcome.out
    assert (outcome.tests["test_in_program"] == "passed") is not auth, outcome.out
    if auth:
        assert "PANDAPROBE_API_KEY" in outcome.out


def test_record_sends_and_does_not_judge(run_suite: RunSuite, server: LocalServer, tmp_path: Path) -> None:
    """Mode `record`, here from the configuration file, sends the traces of all tests and asks no judge."""
    (tmp_path / "own.ini").write_text("[pytest]\npandaprobe = record\n")
    code = "def test_unmarked():\n    assistant('x')\n" + MARKED
    project = {"PANDAPROBE_ENDPOINT": server.url, "PANDAPROBE_PROJECT_NAME": f"record-{tmp_path.name}"}
    outcome = run_suite(code, "-c", str(tmp_path / "own.ini"), **project)
    assert "3 verdicts of the judge skipped: the mode is record" in outcome.out
    with Client(server.api_key, project["PANDAPROBE_PROJECT_NAME"], server.url) as client:
        assert len(list(client.traces.iter())) == 4


OWN_SET_UP = """
import pandaprobe_otel
pandaprobe_otel.init()

def test_unmarked():
    assistant("x")
"""


def test_off_sends_nothing_although_the_app_is_set_up_to_send(
    run_suite: RunSuite, server: LocalServer, tmp_path: Path
) -> None:
    """By default, also in CI, nothing is judged; mode `off` disables an `init()` with a key that the app runs."""
    project = f"off-{tmp_path.name}"
    env = {"PANDAPROBE_ENDPOINT": server.url, "PANDAPROBE_API_KEY": "sk_pp_1", "PANDAPROBE_PROJECT_NAME": project}
    env["CI"] = "true"
    outcome = run_suite(OWN_SET_UP + MARKED, **env)
    assert outcome.cases == {name: value for name, value in BOTH_VERDICTS.items() if "::" not in name} | {
        "test_unmarked": "passed"
    }, outcome.out
    assert "3 verdicts of the judge skipped: the mode is off" in outcome.out
    assert "expected tool 'refund' never, found 1" in outcome.out
    assert "AGENT assistant" in outcome.out
    assert outcome.code == 1
    with Client("sk_pp_1", project, server.url) as client:
        assert list(client.traces.iter()) == []


def test_too_many_evaluations_are_not_started(judged: RunSuite) -> None:
    """Beyond `--pandaprobe-max-evals` nothing is judged, and nothing passes."""
    outcome = judged(MARKED, "--pandaprobe-max-evals=2", "-k", "good or strict")
    verdicts = [value for name, value in outcome.cases.items() if "::" in name]
    assert verdicts == ["error"] * 3
    assert "= 3 evaluations, but the limit is 2" in outcome.out


REPEATED = """
@pytest.mark.pandaprobe(repeat=5, min_pass=0.8)
@pytest.mark.parametrize("what", ["a", "b"])
def test_flaky(probe, pandaprobe_repetition, what):
    assistant(what)
    assert pandaprobe_repetition != 2

@pytest.mark.pandaprobe(repeat=5, min_pass=0.8)
def test_bad(probe, pandaprobe_repetition):
    assistant("x")
    assert pandaprobe_repetition > 2

@pytest.mark.pandaprobe(repeat=3, min_pass=0.3)
def test_easy(probe):
    assistant("x")
"""


def test_a_repeated_test_is_one_test_and_the_share_decides(run_suite: RunSuite, tmp_path: Path) -> None:
    """A repeated test has one outcome in terminal, JUnit and report; it stops once this outcome is decided."""
    outcome = run_suite(REPEATED, "--pandaprobe-report=r.json")
    wanted = {"test_flaky[a]": "passed", "test_flaky[b]": "passed", "test_bad": "failure", "test_easy": "passed"}
    assert outcome.cases == wanted, outcome.out
    assert "1 failed, 3 passed" in outcome.out
    assert "xfailed" not in outcome.out
    report = Report.load(tmp_path / "r.json")
    found = {case.id.rpartition("::")[2]: case.outcome for case in report.cases}
    assert list(found.items()) == [
        ("test_flaky[a]", "passed"),
        ("test_flaky[b]", "passed"),
        ("test_bad", "failed"),
        ("test_easy", "passed"),
    ]
    assert str(report.cases[2].error).startswith("2 of 2 runs: assert 1 > 2")
    assert "4/5 passed (80%, 95 % CI 38–96), 80% required" in outcome.out
    assert "0/2 passed (0%, 95 % CI 0–66), stopped early" in outcome.out
    assert "assert 2 > 2" in outcome.out
    assert "test_easy  1/1 passed (100%, 95 % CI 21–100), stopped early: 1 of 3 needed" in outcome.out
    assert outcome.code == 1


JUDGED_REPEATEDLY = """
@pytest.mark.pandaprobe(metrics=["task_completion"], repeat=5, min_pass=0.8)
def test_flaky(probe, pandaprobe_repetition):
    assistant(f"run {pandaprobe_repetition}")
"""


def test_the_judge_decides_about_repetitions(judged: RunSuite, server: LocalServer) -> None:
    """Four yes answers of five pass at 80 %."""
    server.judge.set("task_completion", lambda trace: 0.1 if "run 3" in str(trace["input"]) else 0.9)
    outcome = judged(JUDGED_REPEATEDLY)
    assert outcome.cases["test_flaky::pandaprobe[task_completion]"] == "passed", outcome.out
    assert "4/5 passed (80%, 95 % CI 38–96), 80% required" in outcome.out
    assert outcome.code == 0


RERUN = """
attempts = []

@pytest.mark.pandaprobe(metrics=["task_completion"])
def test_second_time_lucky(probe):
    attempts.append(1)
    assistant("x")
    assert len(attempts) == 2
"""


@pytest.mark.outer
def test_reruns_are_judged_once(judged: RunSuite) -> None:
    """Of a test that rerunfailures repeats, only the last attempt is judged."""
    outcome = judged(RERUN, "--reruns=3", plugins=("rerunfailures",))
    assert "1 trace × 1 metric = 1 evaluation\n" in outcome.out
    assert outcome.cases["test_second_time_lucky::pandaprobe[task_completion]"] == "passed"
    assert outcome.code == 0


REPORTED = """
@pytest.mark.pandaprobe(metrics=["task_completion"])
def test_cached(probe):
    assistant("the same")
    probe.score("polite", 0.9, reason="it says please")
    assert probe.scores == {"polite": 0.9}
"""


def test_report_cache_and_scores(judged: RunSuite, server: LocalServer, tmp_path: Path) -> None:
    """The report has traces and verdicts; unchanged traces are not judged again."""
    server.judge.set("task_completion", [0.8, 0.1])
    options = ("--pandaprobe-cache=cache.jsonl", "--pandaprobe-report=report.json")
    first = judged(REPORTED, *options)
    assert first.code == 0, first.out
    second = judged(REPORTED, *options)
    assert "nothing = 0 evaluations, 1 more from the cache" in second.out
    assert second.code == 0
    (case,) = Report.load(tmp_path / "report.json").cases
    assert (case.id, case.outcome, case.output) == ("test_suite.py::test_cached", "passed", "refunded: the same")
    assert case.results[0].text.startswith("task_completion 0.80 >= 0.50 (cached)")
    assert [span["name"] for span in case.traces[0]["spans"]] == ["assistant", "look_up", "refund"]


def new_pytest(folder: Path, *plugins: str) -> subprocess.CompletedProcess[str]:
    """Run pytest without these plugins in a new process, in which nothing is imported yet."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        *(f"-pno:{name}" for name in ("xdist", *plugins)),
        "-c",
        os.devnull,
    ]
    env = {**os.environ, "PYTHONPATH": str(folder)}
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=60, check=False)


def test_an_unrelated_suite_loads_the_stub_alone(tmp_path: Path) -> None:
    """In an unrelated suite, the plugin imports only its stub, without heavy dependencies."""
    code = """
import sys
def test_modules():
    ours = sorted(name for name in sys.modules if name.partition(".")[0].startswith("pandaprobe"))
    assert ours == [
        "pandaprobe_otel", "pandaprobe_otel.process", "pandaprobe_otel.process.background",
        "pandaprobe_otel.process.forks", "pandaprobe_otel.process.guard",
        "pandaprobe_otel.pytest_plugin",
    ], ours
    assert not [name for name in ("httpx", "opentelemetry", "pydantic", "orjson") if name in sys.modules]
"""
    (tmp_path / "test_plain.py").write_text(code)
    ran = new_pytest(tmp_path, "asyncio", "hypothesispytest", "schemathesis")
    assert ran.returncode == 0, ran.stdout


SERVERS = """
def test_own_server(pandaprobe_server, pandaprobe_session_server):
    import httpx
    assert pandaprobe_server.url != pandaprobe_session_server.url
    assert httpx.get(pandaprobe_server.url + "/health", trust_env=False, timeout=60).status_code == 200
"""


def test_servers_are_fixtures(run_suite: RunSuite) -> None:
    """Local servers are fixtures for a test or for the session, each on a free port."""
    outcome = run_suite(SERVERS)
    assert outcome.cases == {"test_own_server": "passed"}, outcome.out


def test_the_plugin_can_be_turned_off(run_suite: RunSuite) -> None:
    """`-p no:pandaprobe` removes module, options and fixtures of the plugin."""
    code = """
def test_fixture(request):
    assert not request.session._fixturemanager.getfixturedefs("probe", request.node)
    assert not [name for name in request.config.pluginmanager.list_name_plugin() if "pandaprobe" in name[0] and name[1]]
"""
    outcome = run_suite(code, "-pno:pandaprobe")
    assert outcome.cases == {"test_fixture": "passed"}, outcome.out
    assert run_suite(code, "-pno:pandaprobe", "--pandaprobe=off").code == 4
    assert run_suite("@pytest.mark.pandaprobe(repeat=2)\ndef test_x(): pass\n").code == 0


def test_pytest_loads_our_modules_unchanged(tmp_path: Path) -> None:
    """Pytest rewrites the package of an installed plugin, which takes time and may fail beside threads; ours is not."""
    about = tmp_path / "beside_ours-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: beside-ours\nVersion: 1\n", encoding="utf-8")
    (about / "RECORD").write_text(
        "pandaprobe_otel/__init__.py,,\npandaprobe_otel_integrations/__init__.py,,\n", "utf-8"
    )
    (about / "entry_points.txt").write_text(
        "[pytest11]\npandaprobe = pandaprobe_otel.pytest_plugin\n", encoding="utf-8"
    )
    (tmp_path / "test_it.py").write_text(
        "def test_loaders():\n"
        "    import pandaprobe_otel.evals.suite, pandaprobe_otel_integrations, sys\n"
        "    for name in ('pandaprobe_otel.evals.suite', 'pandaprobe_otel_integrations'):\n"
        "        assert 'Rewriting' not in type(sys.modules[name].__loader__).__name__\n",
        encoding="utf-8",
    )
    ran = new_pytest(tmp_path, "randomly")
    assert ran.returncode == 0, ran.stdout


# -- the example of a tested agent -------------------------------------------------------------------------------------

EXAMPLE = Path(__file__).parents[2] / "examples" / "test_support_agent.py"


def test_two_tests_of_the_example_fail_with_reasons(run_suite: RunSuite, tmp_path: Path) -> None:
    """Its last lines name the option that shows the traces; with it, each fault is shown in the tree of spans."""
    shutil.copy(EXAMPLE, tmp_path)
    outcome = run_suite("", "-rx", EXAMPLE.name)
    expected = [line for line in outcome.out.splitlines() if line.startswith("XFAIL ")]
    assert outcome.code == 0, outcome.out
    assert [("--runxfail shows the trace" in line) for line in expected] == [True, True], outcome.out
    outcome = run_suite("", "--runxfail", EXAMPLE.name)
    tests = {name.partition("[")[0] for name in outcome.cases if "::pandaprobe" not in name}
    failed = {name for name, value in outcome.cases.items() if value == "failure"}
    assert len(tests) == 8, outcome.out
    assert failed == {"test_customers_at_the_same_time_do_not_mix", "test_looks_before_it_pays_when_it_is_urgent"}
    assert "expected tool 'look_up_order' at least once, found none" in outcome.out
    assert "TOOL  issue_refund(number='A-17', amount=100.0)  -> '100.00 paid back for A-17'" in outcome.out
    assert "KeyError: 'price'" in outcome.out
    assert 'TOOL  look_up_order(number=\'B-2\')  -> {"item": "lamp", "state": "sent"}' in outcome.out


def test_the_judges_decide_about_the_example(judged: RunSuite, server: LocalServer, tmp_path: Path) -> None:
    """With `--pandaprobe=eval`, the marked tests have verdicts; a session's verdict covers both turns."""
    for signal in ("confidence", "coherence", "loop_detection", "tool_correctness"):
        server.judge.set(signal, 0.9)
    shutil.copy(EXAMPLE, tmp_path)
    outcome = judged("", EXAMPLE.name)
    verdicts = {name: value for name, value in outcome.cases.items() if "::pandaprobe" in name}
    assert verdicts == {
        "test_tells_the_state_of_an_order::pandaprobe[task_completion]": "passed",
        "test_looks_before_it_pays::pandaprobe[task_completion]": "passed",
        "test_looks_before_it_pays::pandaprobe[tool_correctness]": "passed",
        "test_a_conversation_of_two_turns::pandaprobe[agent_reliability]": "passed",
    }, outcome.out
