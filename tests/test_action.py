"""The composite action, `action.yml`: bash runs its steps as GitHub's runner does."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from command_line import clean_environment
from doc_blocks import blocks
from doc_programs import Tools
from gh import ANNA, BOT, FORK, JOB, PERSON, Comments
from made_reports import case, score
from made_reports import report as report_of
from pandaprobe_otel.evals import Report

ROOT: Final = Path(__file__).parents[1]
ACTION: Final[dict[str, Any]] = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
STEPS: Final[list[dict[str, Any]]] = ACTION["runs"]["steps"]
GH: Final = Path(__file__).parent / "support" / "gh.py"
PAGES: Final = "https://github.com/shop/agent/actions/runs/1/artifacts/2"


def report(*values: float | None) -> Report:
    """Return a report with one case per score; None stands for a case that was not judged."""
    return report_of(*(case(f"c{number}", results=(score(value, "tone"),)) for number, value in enumerate(values)))


class Job:
    """A GitHub job that runs the action in its own folder."""

    def __init__(self, folder: Path, token: str, tools: Tools) -> None:
        self.folder = folder
        self.given = {name: str(each.get("default", "")) for name, each in ACTION["inputs"].items()}
        self.outputs: dict[str, str] = {"pages.artifact-url": PAGES}
        self.said = ""
        self.kept: list[str] = []
        (folder / "temp").mkdir()
        gh = folder / "bin" / "gh"
        gh.parent.mkdir()
        gh.write_text(f'#!/bin/sh\nexec {tools.folder}/python {GH} "$@"\n')
        gh.chmod(0o755)
        self.pull = "7"
        self._token = token
        self._environment = clean_environment(
            folder,
            PATH=os.pathsep.join(
                [str(gh.parent), str(tools.folder), str(Path(sys.executable).parent), os.environ["PATH"]]
            ),
            GITHUB_ACTION_PATH=str(ROOT),
            GITHUB_ACTIONS="true",
            GITHUB_COMMENTS=str(folder / "comments.json"),
            GITHUB_REPOSITORY="shop/agent",
            GITHUB_RUN_ID="123",
            GITHUB_SERVER_URL="https://github.com",
            GITHUB_STEP_SUMMARY=str(folder / "summary.md"),
            RUNNER_TEMP=str(folder / "temp"),
        )

    def run(self, **inputs: str) -> int:
        """Run the steps up to the first failing one, and return the exit code of the job."""
        self.given |= {name.replace("_", "-"): value for name, value in inputs.items()}
        for step in STEPS:
            if "uses" in step:
                path = Path(self._filled(step["with"]["path"]))
                self.kept = sorted(each.name for each in path.iterdir())
            elif code := self._bash(step):
                return code
        return 0

    def _bash(self, step: dict[str, Any]) -> int:
        output = self.folder / "output"
        output.write_text("")
        script = self.folder / "step.sh"
        script.write_text(step["run"], encoding="utf-8")
        environment = {name: self._filled(value) for name, value in step.get("env", {}).items()}
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", str(script)],
            cwd=self.folder,
            env={**self._environment, "GITHUB_OUTPUT": str(output), **environment},
            capture_output=True,
            encoding="utf-8",
            timeout=100,
            check=False,
        )
        self.said += done.stdout + done.stderr
        found = re.findall(r"^([\w-]+)=(.*)$", output.read_text(), re.MULTILINE)
        self.outputs |= {f"{step['id']}.{name}": value for name, value in found}
        return done.returncode

    def _filled(self, text: str) -> str:
        def value(match: re.Match[str]) -> str:
            kind, _, rest = match[1].partition(".")
            if kind == "inputs":
                return self._filled(self.given[rest])
            if kind == "steps":
                step, _, name = rest.partition(".outputs.")
                return self.outputs[f"{step}.{name}"]
            if kind == "github" and rest.startswith("event."):
                return self.pull
            assert match[1] == "github.token"
            return self._token

        return re.sub(r"\$\{\{ ([^}]+) \}\}", value, text)


Start = Callable[[str], Job]


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tools]:
    """Yield our command and Python, in forks of a process that has imported what they need."""
    made = Tools(tmp_path_factory.mktemp("tools"), ("pandaprobe_otel.cli", "pandaprobe_otel.evals"))
    yield made
    made.forks.close()


@pytest.fixture
def start(tmp_path: Path, tools: Tools) -> Start:
    """Return a function that sets up a job with a token."""
    return lambda token: Job(tmp_path, token, tools)


@pytest.fixture
def comments(tmp_path: Path) -> Comments:
    """Return the comments of the pull request."""
    return Comments(tmp_path / "comments.json")


def test_a_worse_run_fails_with_a_comment(tmp_path: Path, comments: Comments, start: Start) -> None:
    """The comment lists the regressions and links the pages of both runs; a repeated job updates it."""
    report(*[0.9] * 6).save(tmp_path / "base.json")
    report(*[0.2] * 6).save(tmp_path / "run.json")
    job = start(JOB)
    for _ in range(2):
        assert job.run(run="run.json", baseline="base.json") == 1, job.said
    (comment,) = comments.all
    assert f"[side by side]({PAGES})" in comment["body"]
    assert "| regression |" in comment["body"]
    assert job.kept == ["base.json", "run.html", "run.json", "side-by-side.html"]
    assert (job.outputs["gate.exit-code"], "::error title=shop%3A c0::" in job.said) == ("1", True)


@pytest.mark.parametrize(("token", "author"), [(JOB, BOT), pytest.param(PERSON, ANNA, marks=pytest.mark.outer)])
def test_only_our_own_comment_is_updated(
    tmp_path: Path, comments: Comments, start: Start, token: str, author: dict[str, str]
) -> None:
    """Our comment is found behind many others; one of another key, author or run is left alone."""
    report(0.9).save(tmp_path / "run.json")
    job = start(token)
    assert job.run(run="run.json") == 0, job.said
    first = comments.all[0]["body"]
    comments.write("no more", author, 101)
    stranger = {"login": "eve", "type": "User"}
    for number in range(120):
        comments.write(f"comment {number}", author)
    others = [(first, stranger), (f"> {first}", author), (first.replace("shop", "x"), author)]
    for other in [*others, (f"{first}old", author)]:
        comments.write(*other)
    assert job.run(run="run.json") == 0, job.said
    assert [one["body"] for one in comments.all[-4:]] == [*(body for body, _ in others), first]
    assert len(comments.all) == 125


@pytest.mark.outer
@pytest.mark.parametrize(
    ("values", "inputs", "code"),
    [
        ((0.9, 0.6), {"metrics": "\n  tone=0.7 \n\n"}, 1),
        ((0.9, 0.6), {"metrics": "tone=0.7", "pass_rate": "0.5"}, 0),
        ((0.9, None), {"allow_no_evidence": "true"}, 0),
        ((0.9,), {"baseline": "gone.json"}, 0),
    ],
)
def test_the_inputs(
    tmp_path: Path,
    comments: Comments,
    start: Start,
    values: tuple[float | None, ...],
    inputs: dict[str, str],
    code: int,
) -> None:
    """Each input has the effect that its description states, and the comment states the gate's verdict."""
    report(*values).save(tmp_path / "run of main.json")
    job = start(JOB)
    assert job.run(run="run of main.json", **inputs) == code, job.said
    verdict = {0: "passed", 1: "failed", 6: "no evidence"}.get(code)
    if code == 0 and "allow_no_evidence" in inputs:
        verdict = "no evidence"
    assert [one["body"].splitlines()[1].rpartition("` ")[2] for one in comments.all] == ([verdict] if verdict else [])


@pytest.mark.outer
def test_an_input_is_no_command(tmp_path: Path, comments: Comments, start: Start) -> None:
    """Inputs that a pull request chooses, and the name of a report, are never run as shell commands."""
    odd = '"; touch hacked; $(touch hacked) `touch hacked` #'
    name = f"{odd.replace('/', '')}.json"
    replace(report(0.9), name=odd).save(tmp_path / name)
    job = start(JOB)
    assert job.run(run=name, baseline=odd, key=odd) == 0, job.said
    assert job.run(run=name, metrics=odd) == 4
    assert job.run(run=name, metrics="", pass_rate=odd) == 4
    assert not (tmp_path / "hacked").exists()
    assert len(comments.all) == 1


def test_a_pull_request_from_a_fork(tmp_path: Path, start: Start) -> None:
    """A fork's token may not write, so the comment goes to the job's summary; the verdict is unchanged."""
    report(0.9).save(tmp_path / "run.json")
    job = start(FORK)
    assert job.run(run="run.json") == 0, job.said
    assert "(HTTP 403)" in job.said
    assert "::warning::No comment was written" in job.said
    assert "### ✔ `shop` passed" in (tmp_path / "summary.md").read_text()


@pytest.mark.outer
@pytest.mark.parametrize(("token", "pull", "said"), [("wrong", "7", "(HTTP 401)"), (JOB, "", "does not belong to")])
def test_where_no_comment_can_be_written(tmp_path: Path, start: Start, token: str, pull: str, said: str) -> None:
    """The summary has the comment, and a warning says why; the verdict is unchanged."""
    report(0.2).save(tmp_path / "run.json")
    job = start(token)
    job.pull = pull
    assert job.run(run="run.json") == 1, job.said
    assert said in job.said
    assert "::warning::No comment was written" in job.said
    assert "### ✘ `shop` failed" in (tmp_path / "summary.md").read_text()


def test_the_action_is_safe_and_documented() -> None:
    """No script contains an expression, other actions are pinned, and `docs/evaluation-ci.md` names each input."""
    scripts = [step["run"] for step in STEPS if "run" in step]
    assert not [script for script in scripts if "${{" in script]
    assert all(step["shell"] == "bash" for step in STEPS if "run" in step)
    assert all(re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", step["uses"]) for step in STEPS if "uses" in step)
    used = set(re.findall(r"\$\{\{ inputs\.([\w-]+) \}\}", (ROOT / "action.yml").read_text(encoding="utf-8")))
    assert used == set(ACTION["inputs"])
    page = (ROOT / "docs" / "evaluation-ci.md").read_text(encoding="utf-8")
    assert [name for name in ACTION["inputs"] if f"`{name}`" not in page] == []
    (text,) = (block.text for block in blocks(ROOT / "docs" / "evaluation-ci.md") if block.language == "yaml")
    workflow = yaml.safe_load(text)
    (step,) = (step for step in workflow["jobs"]["evaluate"]["steps"] if "/pandaprobe-otel@" in step.get("uses", ""))
    assert step["with"].keys() <= ACTION["inputs"].keys()
