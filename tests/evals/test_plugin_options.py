"""Every option of the plugin: its effect, its environment variable and its setting in the configuration file."""

from __future__ import annotations

import json
import re
import threading
from pathlib import Path

import pytest

from pandaprobe_otel.api import Client
from pandaprobe_otel.evals import Report
from pandaprobe_otel.local import LocalServer
from pandaprobe_otel.pytest_plugin import OPTIONS
from suites import RunSuite

UNNAMED = """
@pytest.mark.pandaprobe
def test_x(probe):
    assistant("x")
"""

TEXTS = {
    "": ("record", "off"),
    "metrics": ("task_completion=0.7", "task_completion=0.95"),
    "max-evals": ("9", "0"),
    "report": ("one.json", "two.json"),
    "cache": ("one.jsonl", "two.jsonl"),
    "refresh": ("1", "0"),
    "judge": ("openai/one", "openai/two"),
    "judge-url": ("http://127.0.0.1:9", "http://127.0.0.1:8"),
    "allow-no-evidence": ("1", "0"),
    "timeout": ("30", "x"),
    "deliver-within": ("30", "x"),
    "record": ("none", "all"),
    "cassettes": ("one", "two"),
    "diverge": ("accept", "live"),
}
"""Two values of each option that lead to different results."""

SHOWN = """
import json
def pytest_configure(config):
    from pandaprobe_otel.pytest_plugin import settings_of
    print("settings", json.dumps(settings_of(config)))
"""


def shown(out: str) -> dict[str, str | None]:
    """Return the settings that `SHOWN` printed."""
    found = re.search(r"^settings (.*)$", out, re.MULTILINE)
    assert found, out
    settings: dict[str, str | None] = json.loads(found[1])
    return settings


def test_every_option_has_twins(run_suite: RunSuite, tmp_path: Path) -> None:
    """Options override variables, which override the configuration file; an empty value counts as unset."""
    assert [name for name, _, _ in OPTIONS] == list(TEXTS)
    full = {name: f"pandaprobe-{name}".rstrip("-") for name in TEXTS}
    firsts = {name: first for name, (first, _) in TEXTS.items()} | {"timeout": "30", "deliver-within": "30"}
    variables = {f"{full[name].replace('pandaprobe', 'pandaprobe_pytest')}": text for name, text in firsts.items()}
    environment = {name.replace("-", "_").upper(): text for name, text in variables.items()}
    (tmp_path / "conftest.py").write_text(SHOWN)
    plain = "def test_x(): pass\n"

    assert set(shown(run_suite(plain, "-s").out).values()) == {None}
    lines = [f"{full[name].replace('-', '_')} = ini{number}" for number, name in enumerate(TEXTS) if name]
    (tmp_path / "pytest.ini").write_text("\n".join(["[pytest]", "pandaprobe = off", *lines]))
    in_file = shown(run_suite(plain, "-s").out)
    assert list(in_file.values()) == ["off", *(f"ini{number}" for number in range(1, len(TEXTS)))]
    empty = dict.fromkeys(environment, "")
    assert shown(run_suite(plain, "-s", **empty).out) == in_file
    off = {**environment, "PANDAPROBE_PYTEST": "off"}
    assert shown(run_suite(plain, "-s", **off).out) == {**firsts, "": "off"}
    flags = {name for name, value, _ in OPTIONS if not value}
    options = [f"--{full[name]}" + ("" if name in flags else "=option") for name in TEXTS if name]
    by_option = shown(run_suite(plain, "-s", "--pandaprobe=off", *options, **off).out)
    assert {name: value for name, value in by_option.items() if value != "option"} == {
        "": "off",
        "refresh": "1",
        "allow-no-evidence": "1",
    }


CONFIGURED = """
import os
def pytest_configure(config):
    os.environ["PANDAPROBE_PYTEST_METRICS"] = "task_completion=2"
"""


def test_variables_are_read_when_pytest_is_configured(run_suite: RunSuite, tmp_path: Path) -> None:
    """The `pytest_configure` hook of a conftest.py may set the variables; a test module sets them too late."""
    (tmp_path / "conftest.py").write_text(CONFIGURED)
    refused = run_suite(UNNAMED)
    assert "--pandaprobe-metrics: task_completion=2.0 is not between 0 and 1" in refused.out
    (tmp_path / "conftest.py").unlink()
    late = "import os\nos.environ['PANDAPROBE_PYTEST_METRICS'] = 'task_completion=2'\n"
    assert run_suite(late + UNNAMED).code == 0


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("--pandaprobe=always", "the mode is not one of off, record, eval"),
        ("--pandaprobe-max-evals=many", "--pandaprobe-max-evals=many is not a number of 0 or more"),
        ("--pandaprobe-deliver-within=nan", "--pandaprobe-deliver-within=nan is not a number of 0 or more"),
        ("--pandaprobe-metrics=a=high", "--pandaprobe-metrics: a=high: 'high' is not a number"),
        ("--pandaprobe-report=r.pdf", "--pandaprobe-report: the report r.pdf must end in .json, .md or .html"),
    ],
)
def test_values_that_cannot_be_meant(run_suite: RunSuite, option: str, words: str) -> None:
    """An invalid value is a usage error that names the option, before anything runs."""
    outcome = run_suite(UNNAMED, "--pandaprobe=record", option, PANDAPROBE_API_KEY="sk_pp_1")
    assert (outcome.code, words in outcome.out, outcome.cases) == (4, True, {}), outcome.out


@pytest.mark.parametrize(
    ("marker", "option", "words"),
    [
        ("metrics=['task_complete']", "", "@pytest.mark.pandaprobe: task_complete is not a metric of traces; the "),
        ("metrics=['task_completion'], session=True", "", "task_completion is not a metric of sessions; the metrics "),
        ("metrics=['task_completion'], threshold=7", "", "threshold=7 is not between 0 and 1"),
        ("", "--pandaprobe-metrics=task_complete", "--pandaprobe-metrics: task_complete is not a metric of traces"),
    ],
)
def test_markers_that_cannot_be_meant(judged: RunSuite, marker: str, option: str, words: str) -> None:
    """An unknown metric or an invalid threshold of a marker or the option is a usage error before the first test."""
    code = f"@pytest.mark.pandaprobe({marker})\ndef test_x(probe):\n    assistant('x')\n"
    outcome = judged(code, *filter(None, [option]))
    assert (outcome.code, words in outcome.out, outcome.cases) == (4, True, {}), outcome.out


DEFAULTS = """
@pytest.mark.pandaprobe
def test_unnamed(probe):
    assistant("x")

@pytest.mark.pandaprobe(metrics=())
def test_none(probe):
    assistant("x")

@pytest.mark.pandaprobe(metrics=["step_efficiency"])
def test_own(probe):
    assistant("x")

@pytest.mark.pandaprobe(threshold=0.95)
def test_strict(probe):
    assistant("x")

@pytest.mark.pandaprobe(session=True)
def test_session(probe):
    assistant("x")
"""


def test_metrics_of_markers_that_name_none(judged: RunSuite, project_client: Client) -> None:
    """The option gives metrics to markers without any; a marker's own metrics stay, and sessions are not affected."""
    outcome = judged(DEFAULTS, "--pandaprobe-metrics=task_completion, tool_correctness=0.5")
    assert outcome.verdicts == {
        "test_unnamed::pandaprobe[task_completion]": "passed",
        "test_unnamed::pandaprobe[tool_correctness]": "passed",
        "test_own::pandaprobe[step_efficiency]": "passed",
        "test_strict::pandaprobe[task_completion]": "failure",
        "test_strict::pandaprobe[tool_correctness]": "passed",
    }, outcome.out
    assert "2 traces × 2 metrics" in outcome.out
    runs = {tuple(sorted(run.metric_names)) for run in project_client.evaluations.trace_runs.iter()}
    assert runs == {("task_completion", "tool_correctness"), ("step_efficiency",)}


def test_a_run_that_takes_too_long_is_an_error(judged: RunSuite, server: LocalServer) -> None:
    """`--pandaprobe-timeout` ends the wait for a run, and the error has the run's progress."""

    release = threading.Event()
    server.judge.set("task_completion", lambda trace: 0.9 if release.wait(60) else 0.0)
    outcome = judged(UNNAMED, "--pandaprobe-metrics=task_completion", "--pandaprobe-timeout=1")
    release.set()
    assert outcome.verdicts == {"test_x::pandaprobe[task_completion]": "error"}
    assert re.search(r"WaitTimeout: Evaluation run \S+ is RUNNING after 1 s, with 0 of 1", outcome.out), outcome.out


PROBED = """
def test_unmarked_passes(probe):
    assistant("x")
    probe.score("polite", 0.9)

def test_unmarked_fails(probe):
    assistant("y")
    assert probe.spans.tools == []

def test_without_a_trace():
    pass
"""


def test_every_report_has_every_test_that_uses_the_probe(run_suite: RunSuite, tmp_path: Path) -> None:
    """Tests with the fixture `probe` are cases, with and without the marker, in each of several reports."""
    names, code = ("r.json", "deep/r.md", "r.html"), UNNAMED + PROBED
    assert run_suite(code, *(f"--pandaprobe-report={name}" for name in names)).code == 1
    report = Report.load(tmp_path / "r.json")
    found = {case.id.partition("::")[2]: case.outcome.value for case in report.cases}
    assert found == {"test_x": "passed", "test_unmarked_passes": "passed", "test_unmarked_fails": "failed"}
    assert all(case.traces for case in report.cases)
    assert all("test_unmarked_fails" in (tmp_path / name).read_text().replace("\\", "") for name in names)

    for name in names:
        (tmp_path / name).unlink()
    run_suite(PROBED, PANDAPROBE_PYTEST_REPORT="\n".join(names))
    (tmp_path / "pytest.ini").write_text("[pytest]\npandaprobe_report =\n    other.json\n    other.md\n")
    run_suite(code)
    assert all((tmp_path / name).exists() for name in (*names, "other.json", "other.md"))
