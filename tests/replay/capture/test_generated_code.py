"""Captured tests are Python whatever a trace contains, and run only functions of the user's own project."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from command_line import clean_environment, run_command_line
from pandaprobe_otel.replay.cannot_capture import CannotCapture
from pandaprobe_otel.replay.capture.ordered_trace import StoredTrace
from pandaprobe_otel.replay.capture.write import Captured, Wishes, capture
from stored_traces import call, tool, trace

NASTY = [
    "from", "class", "def", "print", "self", "probe", "pytest", "__class__", "a\0b", "\ud800", "x  # y",
    "# x\nimport os",
    '"""', "'''", "\\", "a\\", "\\N{BULLET}", "\u2028x", "\x0c", "\r", "{x}", "é" * 200, "x" * 5000 + "  # z",
    "total = sum(order.price for order in orders if order.is_paid)  # only paid orders count\nprint(total)  # shown",
    'password="a\\"b" and more', "-> x", "import os", "",
]  # fmt: skip
texts = st.one_of(st.sampled_from(NASTY), st.text(max_size=40))
leaves = st.one_of(texts, st.none(), st.booleans(), st.integers(), st.floats())
values = st.recursive(leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3))
deep: Any = 1
for _ in range(240):
    deep = [deep]


def _file(made: StoredTrace, folder: Path, **wishes: Any) -> Captured:
    file = folder / "test_it.py"
    file.unlink(missing_ok=True)
    return capture([made], file, Wishes(folder=folder, **wishes))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder without a program."""
    return tmp_path_factory.mktemp("captured")


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=texts, arguments=st.dictionaries(texts, values, max_size=3), root=texts, given=values, error=texts, fn=texts
)
@example(
    name="search", arguments={"from": "BER", "to": "ZRH"}, root="answer", given={"class": "7b"}, error="", fn="a.b"
)
@example(
    name="run", arguments={"code": NASTY[-5]}, root="x" * 90 + "  # y", given={"self": deep}, error="a\0b", fn="a.def"
)
@example(name="deep", arguments={"at": deep}, root="", given=[float("nan"), deep], error="\ud800", fn="os.system")
def test_every_file_is_python(
    name: str, arguments: dict[str, Any], root: str, given: Any, error: str, fn: str, folder: Path
) -> None:
    """Names, arguments, inputs and errors of any content give a file that compiles and contains no other code."""
    asks = call(1, 2, tools=[(name, arguments)])
    ran = {**tool("ran", 3, 4, {"a": arguments}), "name": name}
    told = {"status": "ERROR", "error": error} if error else {}
    made = trace(asks, ran, call(5, 6, said="x"), input=given, name=root, metadata={"code.function.name": fn}, **told)
    try:
        done = _file(made, folder)
    except CannotCapture as error_of_content:
        refusal = str(error_of_content)
        assume("not valid Python" in refusal)
        pytest.fail(refusal)
    tree = ast.parse(done.test.read_bytes())
    imports = {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, (ast.Import, ast.ImportFrom))}
    assert imports <= {
        "from __future__ import annotations", "import pytest", "import json", "import asyncio",
        "from pandaprobe_otel import Recording", "from pandaprobe_otel.evals import Probe",
    }  # fmt: skip


GOOD = call(1, 2, said="Here.")


@pytest.mark.parametrize(
    ("function", "is_called"),
    [
        ("shop.answer", True),
        ("app.agents.answer", True),
        ("os.system", False),
        ("subprocess.run", False),
        ("pytest.main", False),
        ("httpx.get", False),
        ("installed.answer", False),
        ("shop.not_there", False),
        ("shop.system", False),
        ("linked.answer", False),
        ("json.answer", False),
        ("class.answer", False),
    ],
)
def test_only_functions_of_the_project_are_called(function: str, is_called: bool, tmp_path: Path) -> None:
    """A function that the trace names is imported if a file of the project defines it; `--entry` may name any other."""
    project, outside = tmp_path / "project", tmp_path / "outside"
    source = "from os import system\ndef answer(question): ...\n"
    for file in (
        project / "shop.py", project / "src/app/agents.py", project / "json.py", outside / "linked.py",
        project / ".venv/lib/python3/site-packages/installed.py", project / ".venv/pyvenv.cfg",
    ):  # fmt: skip
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(source)
    (project / "linked.py").symlink_to(outside / "linked.py")
    (project / "installed.py").symlink_to(project / ".venv/lib/python3/site-packages/installed.py")
    made = trace(GOOD, input={"question": "touch /tmp/x"}, metadata={"code.function.name": function})

    done = _file(made, project)

    module, _, name = function.rpartition(".")
    text = done.test.read_text()
    assert (f"from {module} import {name}" in text) == is_called
    assert ("raise NotImplementedError" in text) != is_called
    assert done.runs.startswith(f"{function.replace('.' + name, ':' + name)}(") == is_called
    if not is_called and module != "class":
        assert any(f"--entry {module}:{name}" in note for note in done.notes)
        assert f"from {module} import {name}" in _file(made, project, entry=f"{module}:{name}").test.read_text()


def test_the_call_is_shown_before_the_test_is_written(tmp_path: Path) -> None:
    """The command prints which function the test will call, with its arguments, and names a refused one."""
    (tmp_path / "shop.py").write_text("def answer(question): ...\n")
    for function, shown in (("shop.answer", "will run shop:answer(question="), ("os.system", "--entry os:system")):
        made = trace(GOOD, input={"question": "touch ran"}, metadata={"code.function.name": function})
        (tmp_path / "trace.jsonl").write_text(json.dumps(made.body) + "\n")
        done = run_command_line(
            "capture", "trace.jsonl", "--to", f"test_{function[:2]}.py",
            environment=clean_environment(tmp_path), cwd=tmp_path,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert shown in done.stderr


def test_a_test_of_a_trace_without_a_failed_step_fails_until_it_is_filled_in(tmp_path: Path) -> None:
    """Nobody can take the test of a run in which no step failed for the test of its failure."""
    (tmp_path / "shop.py").write_text("def answer(question): ...\n")
    made = trace(
        tool("look_up", 1, 2, {"a": 1}), input={"question": "Where?"}, metadata={"code.function.name": "shop.answer"}
    )
    _file(made, tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "test_it.py"],
        cwd=tmp_path, env=clean_environment(tmp_path), capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 1
    assert "Assert here what the program should have done" in done.stdout
