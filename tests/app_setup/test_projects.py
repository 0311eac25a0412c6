"""The command `setup` on small projects of several kinds: it makes only the correct edits, and can undo them all."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from command_line import clean_environment, run_here
from doc_models import models
from pandaprobe_otel.app_setup.proposal import propose
from rings import IN_FULL

PYPROJECT = """\
[project]
name = "shop"  # ours
version = "1"
dependencies = [
    "openai>=2",
    "rich",  # tables
]
"""
ASK = """\
from openai import OpenAI


def ask(question: str) -> str:
    answer = OpenAI().chat.completions.create(model="m", messages=[{"role": "user", "content": question}])
    return answer.choices[0].message.content or ""
"""


@dataclass(frozen=True)
class Project:
    """The files of a project, and the expected result of `setup`."""

    files: Mapping[str, str]
    changed: Mapping[str, str] = field(default_factory=dict)
    """A text for each file that `setup` must add."""
    says: tuple[str, ...] = ()
    runs: str | None = None
    """A file that the test can run."""


PROJECTS: Mapping[str, Project] = {
    "script": Project(
        {"app.py": '"""A shop."""\n' + ASK + '\nif __name__ == "__main__":\n    print(ask("hello"))\n',
         "requirements.txt": "openai>=2"},
        {"app.py": '"""A shop."""\n\nimport pandaprobe_otel\npandaprobe_otel.init()\n\nfrom openai',
         "requirements.txt": "openai>=2\npandaprobe-otel[openai]>="},
        runs="app.py",
    ),
    "command in src": Project(
        {"pyproject.toml": PYPROJECT + '\n[project.scripts]\nshop = "shop.cli:main"\n',
         "src/shop/__init__.py": "", "src/shop/agent.py": ASK,
         "src/shop/cli.py": "from __future__ import annotations\n\nfrom .agent import ask\n\n\ndef main(): ask('x')\n",
         "src/shop/other.py": "if __name__ == '__main__':\n    pass\n"},
        {"src/shop/cli.py": "import annotations\n\nimport pandaprobe_otel\npandaprobe_otel.init()\n\nfrom .",
         "pyproject.toml": '    "rich",  # tables\n    "pandaprobe-otel[openai]>='},
        ("the command shop",),
    ),
    "fastapi": Project(
        {"main.py": "import anthropic\nfrom fastapi import FastAPI\n\napp = FastAPI()\n",
         "requirements.txt": "fastapi\n"},
        {"main.py": "import pandaprobe_otel\npandaprobe_otel.init()\n\nimport anthropic"},
        ("anthropic", "makes the web application"),
    ),
    "flask beside a script without models": Project(
        {"web/__init__.py": "import flask, cohere\n\ndef make():\n    return flask.Flask(__name__)\n",
         "seed.py": "if __name__ == '__main__':\n    print('rows')\n", "requirements.txt": ""},
        {"web/__init__.py": "import pandaprobe_otel\npandaprobe_otel.init()\n\nimport flask"},
    ),
    "django": Project(
        {"manage.py": "import sys\nif __name__ == '__main__':\n    sys.exit()\n",
         "site1/wsgi.py": "import os\napplication = object()\n", "site1/asgi.py": "import os\napplication = object()\n",
         "site1/views.py": ASK, "setup.cfg": "[options]\n"},
        {"site1/wsgi.py": "pandaprobe_otel.init()\n\nimport os",
         "site1/asgi.py": "pandaprobe_otel.init()\n\nimport os"},
    ),
    "celery": Project(
        {"tasks.py": "#!/usr/bin/python\n# Tasks.\nfrom celery import Celery\nimport litellm\n\napp = Celery('x')\n",
         "Pipfile": ""},
        {"tasks.py": "# Tasks.\n\nimport pandaprobe_otel\npandaprobe_otel.init()\n\nfrom celery"},
        ("pipenv install",),
    ),
    "lambda": Project(
        {"handler.py": "import boto3\n\n\ndef handler(event, context):\n    return event\n",
         "requirements.txt": "boto3\n"},
        {"handler.py": "\n@pandaprobe_otel.flush_on_return\ndef handler(event"},
        ("bedrock",),
    ),
    "own provider": Project(
        {"tracing.py": "from opentelemetry.sdk.trace import TracerProvider\n\n\ndef start():\n"
                       "    provider = TracerProvider()  # ours\n    return provider\n",
         "app.py": ASK + "\nif __name__ == '__main__':\n    import tracing\n    tracing.start()\n    ask('hello')\n"},
        {"tracing.py": "  # ours\n    pandaprobe_otel.init(tracer_provider=provider)\n    return"},
        runs="app.py",
    ),
    "own provider and OpenInference": Project(
        {"tracing.py": "from opentelemetry.sdk.trace import TracerProvider\n"
                       "from openinference.instrumentation.openai import OpenAIInstrumentor\n\np = TracerProvider()\n"
                       "OpenAIInstrumentor().instrument(tracer_provider=p)\n"},
        {"tracing.py": "p = TracerProvider()\np.add_span_processor(pandaprobe_otel.PandaProbeSpanProcessor())\n"},
    ),
    "langfuse, poetry, windows": Project(
        {"app.py": "from langfuse import observe\r\nimport openai\r\n\r\nif __name__ == '__main__':\r\n    pass\r\n",
         "pyproject.toml": '[tool.poetry]\nname = "x"\n\n[tool.poetry.dependencies]\npython = "^3.11"\n',
         "poetry.lock": ""},
        {"app.py": "import pandaprobe_otel\r\npandaprobe_otel.init()\r\n\r\nfrom langfuse",
         "pyproject.toml": 'pandaprobe-otel = {version = ">='},
        ("Langfuse stays in place", "poetry lock"),
    ),
}  # fmt: skip


def written(folder: Path, files: Mapping[str, str]) -> dict[str, bytes]:
    """Write the files of a project, and return its content."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(text.encode())
    return content(folder)


def content(folder: Path) -> dict[str, bytes]:
    """Return every file of a folder, by path."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("kind", PROJECTS)
def test_each_project_is_set_up_and_restored(kind: str, tmp_path: Path) -> None:
    """`setup` makes the expected edits, changes nothing when run again, and `--undo` restores every byte."""
    project, environment = PROJECTS[kind], clean_environment(tmp_path)
    folder = tmp_path / "project"
    before = written(folder, project.files)
    shown = run_here("setup", str(folder), "--dry-run", environment=environment)
    assert (shown.returncode, content(folder)) == (0, before), shown.stderr
    done = run_here("setup", str(folder), "--yes", "--no-install", environment=environment)
    assert done.returncode == 0, done.stderr
    after = content(folder)
    for name, text in project.changed.items():
        assert text in after[name].decode()
    assert {name for name in before if after[name] != before[name]} >= set(project.changed)
    for name in before:
        if name.endswith(".py"):
            ast.parse(after[name])
    for text in project.says:
        assert text in done.stdout
    again = run_here("setup", str(folder), "--yes", environment=environment)
    assert (again.returncode, content(folder)) == (0, after)
    assert "already" in again.stdout
    undone = run_here("setup", str(folder), "--undo", environment=environment)
    assert (undone.returncode, content(folder)) == (0, before), undone.stderr
    assert not (folder / ".pandaprobe").exists()


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(kind, marks=() if kind == "script" else IN_FULL)
        for kind, project in PROJECTS.items()
        if project.runs
    ],
)
def test_a_project_that_was_set_up_sends_its_trace(kind: str, tmp_path: Path) -> None:
    """The program of a project after `setup` sends its model call in a trace."""
    project, folder = PROJECTS[kind], tmp_path / "project"
    written(folder, project.files)
    run_here("setup", str(folder), "--yes", "--no-install", environment=clean_environment(tmp_path))
    with models() as found:
        variables = {**found, "PANDAPROBE_LOCAL": str(tmp_path / "traces.jsonl")}
        subprocess.run(
            [sys.executable, str(folder / str(project.runs))],
            env=clean_environment(tmp_path, **variables), cwd=folder, check=True, timeout=60,
        )  # fmt: skip
    trace = json.loads((tmp_path / "traces.jsonl").read_text(encoding="utf-8"))
    assert [span["kind"] for span in trace["spans"]] == ["LLM"]


def test_undo_refuses_files_that_were_edited_since(tmp_path: Path) -> None:
    """`--undo` changes nothing if a file was edited after `setup`, and names the file."""
    environment = clean_environment(tmp_path)
    folder = tmp_path / "project"
    written(folder, PROJECTS["script"].files)
    run_here("setup", str(folder), "--yes", "--no-install", environment=environment)
    (folder / "app.py").write_text("print('mine')\n", encoding="utf-8")
    before = content(folder)
    refused = run_here("setup", str(folder), "--undo", environment=environment)
    assert (refused.returncode, content(folder)) == (1, before)
    assert "app.py" in refused.stderr


def test_undo_writes_nowhere_else(tmp_path: Path) -> None:
    """`--undo` refuses a record that names a file outside of the project."""
    (tmp_path / "project" / ".pandaprobe").mkdir(parents=True)
    record = '{"version": 1, "files": [{"path": "../victim", "sha256": "", "before": "aGk="}]}'
    (tmp_path / "project" / ".pandaprobe" / "setup.json").write_text(record, encoding="utf-8")
    refused = run_here("setup", str(tmp_path / "project"), "--undo", environment=clean_environment(tmp_path))
    assert refused.returncode != 0
    assert "outside of the project" in refused.stderr
    assert not (tmp_path / "victim").exists()


def test_uncommitted_changes_are_not_mixed_with_ours(tmp_path: Path) -> None:
    """`--yes` is refused in a project with uncommitted changes."""
    folder = tmp_path / "project"
    written(folder, PROJECTS["script"].files)
    for command in (["init", "-q"], ["add", "."]):
        subprocess.run(["git", "-C", str(folder), *command], check=True)
    refused = run_here("setup", str(folder), "--yes", environment=clean_environment(tmp_path))
    assert refused.returncode == 4
    assert "uncommitted" in refused.stderr
    assert "pandaprobe" not in (folder / "app.py").read_text(encoding="utf-8")


def test_where_the_start_is_unclear_somebody_chooses(tmp_path: Path) -> None:
    """If several programs may be the app's entry, `setup` lists them and changes nothing; `--entry` selects one."""
    script = PROJECTS["script"].files["app.py"]
    before = written(tmp_path, {"one.py": script, "two.py": script})
    listed = run_here("setup", str(tmp_path), "--yes", environment=clean_environment(tmp_path))
    assert (listed.returncode, content(tmp_path)) == (4, before)
    assert "one.py" in listed.stdout
    assert "two.py" in listed.stdout
    assert [edit.path.name for edit in propose(tmp_path, version="1", entry=tmp_path / "two.py").edits] == ["two.py"]


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"agent.ipynb": "{}"}, "first cell"),
        ({"library.py": "x = 1\n"}, "No module was found"),
        ({"app.py": "import openai; x = 1\nif __name__ == '__main__': pass\n", "bad.py": "def"}, "could not be read"),
    ],
)
def test_lines_are_printed_where_no_place_was_found(files: dict[str, str], reason: str, tmp_path: Path) -> None:
    """For a notebook or a library, `setup` prints the lines to add, and names files that it could not read."""
    written(tmp_path, files)
    proposal = propose(tmp_path, version="1")
    assert any(reason in note for note in proposal.notes)
    assert proposal.by_hand == (not proposal.edits)


def test_hostile_projects_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Deep nesting, other encodings, links out of the project and many files do not stop `setup`."""
    monkeypatch.setattr("pandaprobe_otel.app_setup.sources.MAX_FILES", 20)
    (tmp_path / "elsewhere.py").write_text("import openai\n", encoding="utf-8")
    folder = tmp_path / "project"
    many = {f"m{number}.py": "x = 1\n" for number in range(30)}
    written(folder, {"a_deep.py": "(" * 5_000 + ")" * 5_000, **many})
    (folder / "b_latin.py").write_bytes(
        b"# coding: latin-1\nname = '\xe9'\nif __name__ == '__main__':\n    print(name)\n"
    )
    (folder / "c_link.py").symlink_to(tmp_path / "elsewhere.py")
    (folder / "d_nul.py").write_bytes(b"\0\0")
    proposal = propose(folder, version="1")
    assert proposal.libraries == ()
    assert [edit.path.name for edit in proposal.edits] == ["b_latin.py"]
    assert b"'\xe9'" in proposal.edits[0].after
    assert any("Only the first" in note for note in proposal.notes)
