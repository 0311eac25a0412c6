"""Examples, run without a key, with the traces that they demonstrate."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Final

import pytest
import yaml

import run_as_reader
from command_line import clean_environment
from doc_blocks import ROOT, Block
from doc_programs import Reader, Tools
from pandaprobe_otel.api import Client
from pandaprobe_otel.api.models import Trace
from pandaprobe_otel.local import LocalServer
from write_docs import Example

EXAMPLES: Final = ROOT / "examples"
RUN_HERE: Final[dict[str, dict[str, int]]] = {
    "openai_client.py": {"travel_assistant trip-1 AGENT LLM LLM LLM": 1},
    "anthropic_client.py": {"shop_assistant conversation-1 AGENT LLM LLM TOOL": 1},
    "fastapi_sessions.py": {"shop_assistant conversation-1 AGENT LLM": 2, "shop_assistant conversation-2 AGENT LLM": 2},
    "celery_worker.py": {"mail_assistant conversation-1 AGENT LLM": 2},
    "lambda_handler.py": {"shop_assistant conversation-1 AGENT LLM": 2},
    "fleet.py": {"invoke_agent shop fleet-1 AGENT LLM": 1},
    "failing_agent.py": {"shop_assistant None AGENT LLM LLM TOOL": 1},
    "notebook.ipynb": {"shop_assistant notebook-1 AGENT LLM TOOL": 1},
}
"""The traces of each example by name, session and kinds of spans, with their number."""
_KEYS: Final = re.compile(r"(OPENAI|ANTHROPIC|GOOGLE|GEMINI|AWS)_")


def environment(server: LocalServer, home: Path, project: str) -> dict[str, str]:
    """Return an environment without a model key, with a PandaProbe that the test reads afterwards."""
    clean = {name: value for name, value in clean_environment(home).items() if not _KEYS.match(name)}
    return {**clean, **server.environment(project)}


def command(name: str) -> str:
    """Return the command that a reader runs."""
    run = f"cp {EXAMPLES / name} . && python {ROOT}/scripts/run_notebook.py {name}"
    return run if name.endswith(".ipynb") else f"python {EXAMPLES / name}"


OUTER: Final = frozenset({"celery_worker.py", "fleet.py"})
"""Examples that start other programs."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.outer] if name in OUTER else []) for name in RUN_HERE]
)
def test_it_runs_without_a_key(name: str, tmp_path: Path, tools: Tools, server: LocalServer) -> None:
    """The example succeeds without a key, and PandaProbe has its traces."""
    with Reader(tools, tmp_path / "reader", environment(server, tmp_path, name)) as reader:
        ran = reader.follow(Block(page=f"examples/{name}", line=1, language="sh", title="", text=command(name)))
    assert ran is not None
    assert ran.code == 0, f"{ran.out}\n{ran.err}"
    with Client(server.api_key, name, server.url) as client:
        traces = [client.traces.get(each) for each in client.traces.iter()]
    assert Counter(_in_words(trace) for trace in traces) == RUN_HERE[name]


@pytest.mark.parametrize("name", ["collector.yaml", "collector-single.yaml"])
def test_a_collectors_pipeline_is_whole(name: str) -> None:
    """The pipelines of a Collector's configuration name exactly the components that it defines."""
    config = yaml.safe_load((EXAMPLES / "fleet" / name).read_text(encoding="utf-8"))
    for kind in ("receivers", "processors", "exporters"):
        used = {part for pipeline in config["service"]["pipelines"].values() for part in pipeline.get(kind, ())}
        assert used == set(config.get(kind, {}))


def test_every_example_is_run() -> None:
    """Each file in the folder of examples is run or named by a test, or run by `nox -s examples`."""
    tests = "\n".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "tests").rglob("test_*.py")))
    files = [path.relative_to(EXAMPLES).as_posix() for path in sorted(EXAMPLES.rglob("*")) if path.is_file()]
    run = RUN_HERE.keys() | run_as_reader.programs_of_examples().keys()
    left = [name for name in files if name not in run and not _is_named(name, tests)]
    assert [name for name in left if name != "README.md" and "__pycache__" not in name] == []


def test_every_example_is_in_the_table() -> None:
    """README.md in the folder of examples links to each file."""
    table = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    files = [path for path in EXAMPLES.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    named = [path.relative_to(EXAMPLES).as_posix() for path in files if path.name != "README.md"]
    assert [name for name in named if f"]({name})" not in table] == []


@pytest.mark.parametrize(
    "example", run_as_reader.programs_of_examples().values(), ids=lambda example: str(example.path)
)
def test_every_program_names_its_package_and_command(example: Example) -> None:
    """Each program's docstring has the package and the command that `nox -s examples` uses."""
    assert re.match(r'"?pandaprobe-otel\b', example.needs)
    assert run_as_reader.command_of(example).split()[-1] == example.path


def _in_words(trace: Trace) -> str:
    kinds = sorted(span.kind for span in trace.spans if span.kind != "OTHER")  # OTHER: spans of FastAPI itself
    return " ".join([trace.name, str(trace.session_id), *kinds])


def _is_named(name: str, tests: str) -> bool:
    path = Path(name)
    return re.search(rf"[\"'/]{re.escape(path.stem)}(\.{path.suffix[1:]})?[\"']", tests) is not None
