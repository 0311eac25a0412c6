"""Every command that calls the API, run against the local server, with JSON output for programs.

They run in this process, since there are many of them; test_api_in_a_shell.py runs some in a shell.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import pytest

from pandaprobe_otel.cli import app as app_module
from pandaprobe_otel.cli.exit_codes import ExitCode
from pandaprobe_otel.local import LocalServer

TRACE = {
    "name": "agent run",
    "started_at": "2026-05-06T07:08:09Z",
    "ended_at": "2026-05-06T07:08:11Z",
    "session_id": "s-1",
    "user_id": "u-1",
    "input": "tea",
    "output": "tea",
    "tags": ["a"],
    "spans": [{"name": "gpt", "kind": "LLM", "started_at": "2026-05-06T07:08:09Z", "model": "m"}],
}
WINDOW = ("--since", "2026-05-01T00:00:00Z", "--until", "2026-06-01")


@pytest.fixture(scope="module")
def server() -> Iterator[LocalServer]:
    """A local PandaProbe."""
    with LocalServer(limit=None) as running:
        yield running


class Command:
    """A runner of command lines, which returns what they print."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self.error_output = ""

    def table(self, *arguments: str, code: int = 0) -> str:
        """Run a command, check its exit code, and return its standard output."""
        self._capsys.readouterr()
        result = app_module.run(list(arguments))
        printed = self._capsys.readouterr()
        self.error_output = printed.err
        assert result == code, printed.err
        assert "Traceback" not in printed.err
        return printed.out

    def json(self, *arguments: str, code: int = 0) -> Any:
        """Run a command with `--format json`, and return the parsed output."""
        return json.loads(self.table(*arguments, "--format", "json", code=code))


@pytest.fixture
def command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, server: LocalServer, tmp_path: Path
) -> Command:
    """A runner of commands in a new project."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PANDAPROBE_ENDPOINT", server.url)
    monkeypatch.setenv("PANDAPROBE_API_KEY", "sk_pp_commands")
    monkeypatch.setenv("PANDAPROBE_PROJECT_NAME", f"p-{uuid4()}")
    return Command(capsys)


@pytest.fixture
def trace(command: Command, tmp_path: Path) -> str:
    """The id of a trace that the server already lists."""
    file = tmp_path / "trace.json"
    file.write_text(json.dumps(TRACE), encoding="utf-8")
    trace_id: str = command.json("traces", "create", str(file))["trace_id"]
    command.table("traces", "get", trace_id, "--wait", "10")
    return trace_id


def test_reading_traces(command: Command, trace: str) -> None:
    """Traces can be listed, filtered and read, and so can their users and analytics."""
    page = command.json("traces", "list", "--status", "completed", "--tag", "a", "--limit", "5")
    tree = command.table("traces", "get", trace)
    table = command.table("traces", "list", *WINDOW)
    nothing = command.table("traces", "list", "--session-id", "nope")

    assert [item["trace_id"] for item in page["items"]] == [trace]
    assert (page["total"], page["limit"], page["offset"]) == (1, 5, 0)
    assert "LLM   gpt" in tree
    assert "s-1" in tree
    assert trace in table
    assert (nothing, command.error_output) == ("", "nothing found\n")
    assert command.json("traces", "analytics", "--metric", "models", *WINDOW)[0]["model"] == "m"


def test_traces_within_a_budget(command: Command, trace: str) -> None:
    """`--budget` limits the text of a trace, which can be read in parts or compared with another trace."""
    text = command.table("traces", "get", trace, "--budget", "800")
    part = command.json("traces", "get", trace, "--budget", "800", "--part", "input")
    tree = command.json("traces", "get", trace, "--budget", "800", "--part", "tree", "--cursor", "1.1")
    same = command.json("traces", "compare", trace, trace)

    assert text.startswith(f"trace {trace} COMPLETED 2.00 s")
    assert "#1 llm gpt m running" in text
    assert "\ntea\n<<end" in part["text"]
    assert (tree["spans"], tree["next"], same["differing"]) == (1, None, 0)
    assert "no difference" in command.table("traces", "compare", trace, trace)
    command.table("traces", "get", trace, "--budget", "800", "--part", "#9", code=ExitCode.VALIDATION)
    assert "no span #9, only #1 to #1" in command.error_output
    command.table("traces", "get", trace, "--part", "tree", code=ExitCode.VALIDATION)
    assert "need --budget" in command.error_output


def test_changing_traces(command: Command, trace: str, tmp_path: Path) -> None:
    """Traces can be updated, cleared, tagged and deleted, and spans added and changed."""
    file = tmp_path / "metadata.json"
    file.write_text('{"k": 1}', encoding="utf-8")
    changed = command.json(
        "traces", "update", trace, "--status", "error", "--output", '{"n": 1}', "--metadata", f"@{file}",
        "--clear", "session_id", "--tag", "x", "--tag", "y",
    )  # fmt: skip
    command.table("traces", "tag", trace, "--add", "z", "--remove", "x")
    spans = tmp_path / "spans.json"
    spans.write_text(json.dumps([{"name": "late", "started_at": "2026-05-06T07:08:10Z"}]), encoding="utf-8")
    (span,) = command.json("traces", "add-spans", trace, str(spans))["span_ids"]
    late = command.json("traces", "update-span", trace, span, "--kind", "tool", "--input", "just text")
    after = command.json("traces", "get", trace)
    command.table("traces", "delete", trace)
    many = command.json("traces", "delete", trace, str(uuid4()))

    assert (changed["status"], changed["output"], changed["session_id"]) == ("ERROR", {"n": 1}, None)
    assert (changed["tags"], changed["metadata"]) == (["x", "y"], {"k": 1})
    assert (late["kind"], late["input"]) == ("TOOL", "just text")
    assert (after["tags"], len(after["spans"])) == (["y", "z"], 2)
    assert many == {"deleted": 0}


def test_the_latest_traces(command: Command, trace: str) -> None:
    """`traces tail` prints one line for each trace."""
    line = command.table("traces", "tail", "-n", "3", "--session-id", "s-1")
    row = command.json("traces", "tail")

    assert (trace in line, "agent run" in line, line.count("\n")) == (True, True, 1)
    assert row["trace_id"] == trace


@pytest.mark.parametrize("form", ["json", "md"])
def test_exporting(command: Command, trace: str, tmp_path: Path, form: str) -> None:
    """Exports by id and by filter are equal, on standard output and in a file."""
    by_id = command.table("traces", "export", "--as", form, trace)
    by_filter = command.table("traces", "export", "--as", form, "--session-id", "s-1")
    file = tmp_path / "out"
    printed = command.table("traces", "export", "--as", form, trace, "-o", str(file))

    assert by_id == by_filter == file.read_text(encoding="utf-8")
    assert (printed, command.error_output) == ("", f"1 trace in {file}\n")
    assert "agent run" in by_id


def test_scores(command: Command, trace: str) -> None:
    """A score's type is derived from its value unless `--type` sets it."""
    given = [
        command.json("scores", "submit", trace, *arguments)
        for arguments in (
            ("good", "0.75", "--reason", "why", "--metadata", '{"m": 1}'),
            ("fine", "TRUE"),
            ("word", "0.5", "--type", "label", "--source", "ANNOTATION"),
        )
    ]
    assert [(each["value"], each["data_type"], each["source"]) for each in given] == [
        ("0.75", "NUMERIC", "PROGRAMMATIC"),
        ("true", "BOOLEAN", "PROGRAMMATIC"),
        ("0.5", "CATEGORICAL", "ANNOTATION"),
    ]
    assert command.json("scores", "list", "--data-type", "boolean")["items"][0]["id"] == given[1]["id"]
    assert command.json("scores", "update", given[0]["id"], "--value", "0.25")["value"] == "0.25"
    command.table("scores", "delete", given[0]["id"])
    command.table("scores", "submit", trace, "bad", "1.5", code=ExitCode.VALIDATION)
    command.table("scores", "submit", trace, "bad", "many", "--type", "number", code=ExitCode.VALIDATION)
    assert "'many' is not a number" in command.error_output


READING: Final = {
    "traces users --all": "u-1",
    "traces list --all --name AGENT": "agent run",
    "sessions list --no-has-error --all": "s-1",
    "sessions get s-1": "agent run",
    f"sessions analytics --granularity week {' '.join(WINDOW)}": "2026-05-04",
    "scores list --all": "good",
    "scores get TRACE": "0.75",
    "scores summary --since 1h": "good",
    "scores trend good --granularity hour": "0.75",
    "scores distribution good --buckets 2": "1",
    "scores sessions list --session-id s-1 --all": "agent_reliability",
    "scores sessions get s-1": "agent_reliability",
    "scores sessions summary": "agent_reliability",
    "scores sessions trend agent_reliability": "1",
    "scores sessions distribution agent_reliability": "1",
    "scores sessions history s-1": "agent_reliability",
    "scores sessions comparison agent_reliability --sort-order desc --all": "s-1",
    "evals metrics": "agent_reliability",
    "evals providers": "openai",
    "evals template confidence": "confidence",
    "evals runs list --sessions --all": "agent_reliability",
}
"""Commands that read, with what each prints."""


def test_reading(command: Command, trace: str) -> None:
    """Each command that reads prints a table, and JSON; a session without evidence scores 1.0, which is no evidence."""
    command.table("scores", "submit", trace, "good", "0.75")
    run = command.json("evals", "start", "-m", "agent_reliability", "--session", "s-1")
    assert "1 session × 1 metric = 1 evaluation, billed" in command.error_output
    waited = command.json("evals", "runs", "wait", run["id"], code=ExitCode.NO_EVIDENCE)
    (score,) = waited["scores"]
    assert (waited["ok"], waited["missing_count"], score["value"], bool(score["vacuous"])) == (False, 0, 1.0, True)
    for line, words in READING.items():
        arguments = line.replace("TRACE", trace).split()
        assert words in command.table(*arguments), line
        assert words in json.dumps(command.json(*arguments)), line
    command.table("evals", "runs", "retry", run["id"], code=ExitCode.VALIDATION)
    assert "No failed scores to retry" in command.error_output
    command.table("scores", "sessions", "delete", command.json("scores", "sessions", "list")["items"][0]["id"])
    assert command.json("sessions", "delete", "s-1") == {"deleted": 1}


def test_evaluations(command: Command, trace: str) -> None:
    """Evaluation runs can be started, waited for, retried, read and deleted."""
    started = command.json("evals", "start", "-m", "confidence", "--trace", trace, "--name", "n")
    waited = command.json("evals", "runs", "wait", started["id"], code=ExitCode.NO_EVIDENCE)
    assert (waited["ok"], waited["run"]["status"], waited["scores"][0]["status"]) == (False, "COMPLETED", "FAILED")
    repeated = command.json("evals", "runs", "retry", started["id"])
    text = command.table("evals", "runs", "wait", repeated["id"], code=ExitCode.NO_EVIDENCE)
    assert text.startswith("evaluation COMPLETED: 0 scores, 1 failed\n")
    assert [each["status"] for each in command.json("evals", "runs", "scores", started["id"])] == ["FAILED"]
    assert command.json("evals", "runs", "get", repeated["id"])["filters"]["retry_of"] == started["id"]
    assert "deleted run" in command.table("evals", "runs", "delete", started["id"], "--delete-scores")
    command.table("evals", "start", "-m", "confidence", "--all")
    assert "1 trace × 1 metric = 1 evaluation, billed" in command.error_output
    many = ("-m", "confidence", "-m", "coherence", "--tag", "a", "--max-evals", "1")
    command.table("evals", "start", *many, code=ExitCode.VALIDATION)
    assert "at most 1 trace × 2 metrics = 2 evaluations, more than --max-evals=1" in command.error_output


def test_monitors(command: Command, trace: str, tmp_path: Path) -> None:
    """Monitors can be managed one by one or from a file."""
    made = command.json(
        "monitors", "create", "--name", "m", "--target-type", "trace", "--metric", "coherence", "--cadence", "daily",
        "--filters", '{"tags": ["a"]}', "--sampling-rate", "0.5",
    )  # fmt: skip
    identity = made["id"]
    assert (made["metric_names"], made["filters"]["tags"], made["sampling_rate"]) == (["coherence"], ["a"], 0.5)
    assert command.json("monitors", "update", identity, "--cadence", "weekly")["cadence"] == "weekly"
    assert command.json("monitors", "pause", identity)["status"] == "PAUSED"
    assert command.json("monitors", "resume", identity) == command.json("monitors", "get", identity)
    assert command.json("monitors", "list", "--status", "active", "--all")["total"] == 1
    run = command.json("monitors", "trigger", identity)
    assert [each["id"] for each in command.json("monitors", "runs", identity)["items"]] == [run["id"]]

    file = tmp_path / "monitors.toml"
    file.write_text(
        '[[monitor]]\nname = "n"\ntarget_type = "TRACE"\nmetrics = ["coherence"]\ncadence = "daily"\n', encoding="utf-8"
    )
    assert command.table("monitors", "diff", str(file), "--prune") == "create n\ndelete m\n"
    assert command.json("monitors", "apply", str(file))["changes"][0]["action"] == "create"
    assert command.table("monitors", "apply", str(file)) == "unchanged n\n"
    assert "deleted monitor" in command.table("monitors", "delete", identity)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("traces", "list", "--since", "yesterday"), "neither a time such as"),
        (("traces", "list", "--since", "2026-01-02T03:04:05"), "has no time zone"),
        (("traces", "list", "--status", "done"), "'done' is not one of"),
        (("traces", "export", str(uuid4()), "--name", "n"), "ids or filters, not both"),
        (("traces", "update", str(uuid4()), "--metadata", "{"), "the value is not JSON"),
        (("traces", "analytics"), "Missing option '--since'"),
        (("scores", "submit", str(uuid4()), "n", "maybe", "--type", "boolean"), "neither true nor false"),
        (("evals", "start", "-m", "nope", "--all"), "nope unknown; metrics of traces:"),
        (("evals", "start", "-m", "coherence"), "nothing to evaluate: pass --metric, and --trace"),
        (("sessions", "get", "a/b"), "has a slash"),
        (("sessions", "get", "\udcff"), "not Unicode"),
        (("traces", "list", "--since", "99999999999w"), "before the first year of the calendar"),
        (("traces", "list", "--project", "a/b"), "is not a project name"),
        (("traces", "tag", str(uuid4())), "no tags are given"),
        (("traces", "create", "/dev/null"), "/dev/null is not JSON"),
        (("traces", "export", "-o", "/nope/x"), "/nope/x cannot be written"),
        (("traces", "update", str(uuid4()), "--clear", "nope"), "nope: there is no such argument"),
        (("scores", "submit", str(uuid4()), "n", "0.5", "--metadata", "[]"), "must be a JSON object"),
    ],
)
def test_bad_input(command: Command, arguments: tuple[str, ...], words: str) -> None:
    """Bad input ends with exit code 4, no standard output, and a message that names the mistake."""
    assert command.table(*arguments, code=ExitCode.VALIDATION) == ""
    assert words in command.error_output
