"""`pandaprobe-otel replay capture`: the chosen traces, the written files, and the errors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from command_line import clean_environment, run_here
from pandaprobe_otel.api import Client
from pandaprobe_otel.local import LocalServer
from stored_traces import call, identity, tool, trace

ASKS = call(1, 2, tools=[("look_up", {"number": "A-17"})])


@pytest.fixture(scope="module")
def server() -> Iterator[LocalServer]:
    """A local PandaProbe with a scripted judge."""
    with LocalServer(limit=None, scripted_judge=True) as running:
        yield running


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run each test in an empty directory."""
    monkeypatch.chdir(tmp_path)


def _body(number: int, **root: Any) -> dict[str, Any]:
    """Return a trace whose program called a tool with other arguments than the model asked for."""
    made = trace(ASKS, tool("look_up", 3, 4, {"number": "17"}), **root)
    text = json.dumps(dict(made.body))
    for one in made.spans:
        known = str(one.body["span_id"])
        text = text.replace(known, identity(f"{known} {number}"))
    body: dict[str, Any] = json.loads(text)
    return {**body, "trace_id": f"0f0c0000-0000-0000-0000-{number:012}"}


def _file(folder: Path, *bodies: dict[str, Any]) -> str:
    file = folder / "traces.jsonl"
    file.write_text("".join(json.dumps(body) + "\n" for body in bodies), encoding="utf-8")
    return str(file)


def _run(*arguments: str, folder: Path, **variables: str) -> Any:
    return run_here("replay", "capture", *arguments, environment=clean_environment(folder, **variables))


def test_a_file_of_one_trace_is_one_test(tmp_path: Path) -> None:
    """A file with one trace needs no key or server; people get the finding and the command, programs JSON."""
    file = _file(tmp_path, _body(1))
    done = _run(file, "--to", "tests/test_order.py", "--entry", "shop:answer", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "tests/test_order.py: 1 model call, 1 tool call in tests/cassettes/test_order.yaml" in done.stdout
    assert 'to fix: the model asked for look_up(number="A-17"); the trace had look_up(number="17")' in done.stdout
    assert "python -m pytest tests/test_order.py" in done.stdout
    assert 'answer("Where?")' in Path("tests/test_order.py").read_text(encoding="utf-8")
    shown = _run(file, "--format", "json", "--live-tools", "other", folder=tmp_path)
    (made,) = json.loads(shown.stdout)
    assert (made["calls"], made["tools"], Path(made["test"]).name) == (1, 1, "test_answer_0f0c0000.py")
    assert made["to_mend"] == ['the model asked for look_up(number="A-17"); the trace had look_up(number="17")']
    assert 'tools=["look_up"]' in Path(made["test"]).read_text(encoding="utf-8")


def test_many_traces_become_a_test_for_each_failure(tmp_path: Path) -> None:
    """Traces with the same failure become one test; a trace that cannot be captured is reported, with exit code 4."""
    masked = {**_body(3), "spans": [{**one, "output": "[masked]", "name": "other"} for one in _body(3)["spans"]]}
    done = _run(_file(tmp_path, _body(1), _body(2), masked), "--to", "tests", folder=tmp_path)
    assert done.returncode == 4
    assert "2 traces failed like" in done.stderr
    assert "cannot be captured" in done.stderr
    assert [path.name for path in Path("tests").glob("*.py")] == ["test_answer_0f0c0000.py"]


def test_rows_of_a_dataset(tmp_path: Path) -> None:
    """With `--dataset`, each trace becomes one row for `evaluate()`, even if captured again."""
    file = _file(tmp_path, _body(1), _body(2))
    assert "2 rows added" in _run(file, "--dataset", "cases.jsonl", folder=tmp_path).stdout
    assert "0 rows added" in _run(file, "--dataset", "cases.jsonl", folder=tmp_path).stdout
    rows = [json.loads(line) for line in Path("cases.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["input"] for row in rows] == ["Where?", "Where?"]
    assert rows[0]["went_wrong"]


def test_traces_of_pandaprobe(tmp_path: Path, server: LocalServer) -> None:
    """Traces are read from the server by id or by session."""
    variables = server.environment("captures")
    with Client(server.api_key, "captures", server.url) as client:
        for number in (1, 2):
            body = _body(number, input=f"Question {number}")
            client.traces.create(**{**body, "session_id": "s-1"})
        first = f"0f0c0000-0000-0000-0000-{1:012}"
        client.traces.wait_visible(first, 10)
        client.traces.wait_visible(f"0f0c0000-0000-0000-0000-{2:012}", 10)
    by_id = _run(first, "--to", "test_one.py", folder=tmp_path, **variables)
    assert by_id.returncode == 0, by_id.stderr
    session = _run(first, "--session", "--to", "test_two.py", folder=tmp_path, **variables)
    assert session.returncode == 0, session.stderr
    text = Path("test_two.py").read_text(encoding="utf-8")
    assert "Question 1" in text
    assert "Question 2" in text


def test_traces_that_a_monitor_has_scored_low(tmp_path: Path, server: LocalServer) -> None:
    """`--monitor` captures only the traces that the monitor scored below 0.5."""
    with Client(server.api_key, "monitored", server.url) as client:
        for number in (6, 7):
            client.traces.create(**_body(number, input=f"Question {number}"))
        for number in (6, 7):
            client.traces.wait_visible(f"0f0c0000-0000-0000-0000-{number:012}", 10)
        assert server.judge is not None
        server.judge.set("coherence", lambda trace: 0.2 if "Question 6" in json.dumps(trace) else 0.9)
        made = client.monitors.create(name="m", target_type="TRACE", metrics=["coherence"], cadence="daily")
        run = client.monitors.trigger(made.id)
        client.evaluations.get(run.id).wait(timeout=20)
        server.judge.clear()
    done = _run("--monitor", str(made.id), "--to", "found", folder=tmp_path, **server.environment("monitored"))
    assert done.returncode == 0, done.stderr
    (found,) = Path("found").glob("*.py")
    assert "Question 6" in found.read_text(encoding="utf-8")


def test_each_mistake_has_its_exit_code(tmp_path: Path, server: LocalServer) -> None:
    """Each mistake has the exit code that it has in other commands."""
    file = _file(tmp_path, _body(1))
    variables = server.environment("nothing")
    assert _run(folder=tmp_path).returncode == 4
    assert _run(f"0f0c0000-0000-0000-0000-{9:012}", folder=tmp_path, **variables).returncode == 3
    assert _run(file, "--entry", "no module", folder=tmp_path).returncode == 4
    assert _run(file, "--to", "test_a.py", folder=tmp_path).returncode == 0
    again = _run(file, "--to", "test_a.py", folder=tmp_path)
    assert (again.returncode, "already" in again.stderr) == (4, True)
    assert _run("--status", "ERROR", folder=tmp_path, **variables).returncode == 4
    Path("empty.jsonl").write_text("", encoding="utf-8")
    assert _run("empty.jsonl", folder=tmp_path).returncode == 4
