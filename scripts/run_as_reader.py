"""Run a program as its reader does: in an environment with only what its page installs, and an empty folder.

    python scripts/run_as_reader.py example FILE PROGRAMS    a file of examples/, without a key
    python scripts/run_as_reader.py extra NAME PROGRAMS      the program on the page of an extra

PROGRAMS is the folder with the environment's `python` (`nox -s examples extras` makes the environments). A program must
exit with 0 and without a warning of this library. An example must name its traces at the end, and their database must
contain them. For an extra, a scripted model and a local PandaProbe run in this process, and must have seen its calls.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from docs_pages.examples_page import EXAMPLES, Example, examples
from docs_pages.integration_pages import SNIPPETS
from pandaprobe_otel import Client
from pandaprobe_otel.local import LocalServer
from pandaprobe_otel.registry import INTEGRATIONS

ROOT: Final = Path(__file__).resolve().parents[1]
FRAMEWORKS: Final = frozenset(path.stem for path in (ROOT / "tests" / "frameworks" / "environments").glob("*.toml"))
"""Frameworks, on whose pages a program calls a tool."""
WITHOUT_A_PAGE: Final = frozenset({"all", "dev", "docs", "lint", "outer"})
ASKS_NO_MODEL: Final = frozenset({"mcp"})
_OF_THE_CALLER: Final = re.compile(
    r"(PANDAPROBE|OTEL|OPENAI|ANTHROPIC|GOOGLE|GEMINI|AWS|LANGSMITH|LANGCHAIN|PYTEST)_"
    r"|(PYTHONPATH|PYTHONHOME|VIRTUAL_ENV|HOME|USERPROFILE|CI)$"
)
"""Variables of the caller that a program does not get, since a reader has not set them."""
_NO_WARNING: Final = re.compile(r"^pandaprobe: |\bINFO\b")
"""Pattern of lines that are not warnings: progress, and log lines with the level INFO."""
_SEEN: Final = re.compile(r"Traces: (?P<counts>\d.*)\nLook at them: pandaprobe-otel local --db (?P<file>\S+)$")
_TESTED: Final = re.compile(r"--runxfail shows the trace\n=+ 6 passed, 2 xfailed in .*$")
"""Last lines of an example that is run by pytest and leaves no traces."""


_SERVED: Final = """
{command} >said &
until grep -q http said; do sleep 0.1; done
kill $!
wait $! || true
cat said
"""
_AGENT: Final = """
import pandaprobe_otel

pandaprobe_otel.init()
with pandaprobe_otel.session("conversation-1"), pandaprobe_otel.agent("shop_assistant"):
    with pandaprobe_otel.llm("chat", model="gpt-4o-mini") as call:
        call.set_token_usage(prompt_tokens=1000, completion_tokens=1000)
pandaprobe_otel.flush()
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """Python or shell commands, and a text that their output must contain."""

    text: str
    says: str
    is_python: bool = False


OTHER_EXTRAS: Final[Mapping[str, Program]] = {
    "cli": Program(text="pandaprobe-otel traces list", says="nothing found"),
    "cost": Program(
        text=f"import os\n\nos.environ['PANDAPROBE_COMPUTE_COST'] = 'true'\n{_AGENT}"
        "(trace,) = pandaprobe_otel.Client().traces.iter()\nprint('cost', trace.total_cost)\n",
        says="cost 0.0",
        is_python=True,
    ),
    "demo": Program(text="pandaprobe-otel demo", says="Look at it in the browser"),
    "evals": Program(
        text="from pandaprobe_otel.evals import MatchesSchema, evaluate\n\n"
        "print(evaluate(['1'], str, [MatchesSchema({'type': 'integer'})]).rate)\n",
        says="1/1 passed",
        is_python=True,
    ),
    "gateway": Program(text=_SERVED.format(command="pandaprobe-otel gateway --http-port 0 --grpc-port 0"), says="OTLP"),
    "local": Program(text=_SERVED.format(command="pandaprobe-otel local --port 0"), says="PANDAPROBE_ENDPOINT="),
    "pandas": Program(
        text=f"{_AGENT}print(pandaprobe_otel.Client().sessions.get('conversation-1').to_pandas().shape)\n",
        says="(1, ",
        is_python=True,
    ),
    "redis": Program(
        text=f"import os\n\nos.environ['PANDAPROBE_REDIS_URL'] = os.environ['REDIS']\n{_AGENT}"
        "print(pandaprobe_otel.status().traces_delivered, 'delivered')\n",
        says="1 delivered",
        is_python=True,
    ),
}
"""Programs for the extras other than integrations. They find a local PandaProbe by its variables, and $REDIS."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """The outcome of a command: exit code, output and faults."""

    code: int
    out: str
    err: str

    @property
    def faults(self) -> list[str]:
        """The failure of the command, or its warnings about this library; empty if there is neither."""
        if self.code:
            return [f"exit code {self.code}\n{self.out[-3000:]}\n{self.err[-3000:]}"]
        ours = [line for line in self.err.splitlines() if "pandaprobe" in line and not _NO_WARNING.search(line)]
        return [f"it warns: {line}" for line in ours]


def run(command: str, programs: Path, folder: Path, variables: Mapping[str, str]) -> Ran:
    """Run a shell command in a folder, with the environment's `python` and only these variables."""
    kept = {name: value for name, value in os.environ.items() if not _OF_THE_CALLER.match(name)}
    kept["PANDAPROBE_SHUTDOWN_TIMEOUT"] = "60"  # The machine may be busy.
    path = os.pathsep.join([str(programs), kept.get("PATH", os.defpath)])
    home = {"HOME": str(folder), "USERPROFILE": str(folder), "TMPDIR": str(folder)}
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        # Files, because a process that the program leaves running would keep a pipe open.
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command],
            cwd=folder,
            env={**kept, **home, "PATH": path, "NO_PROXY": "127.0.0.1,localhost", **variables},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            timeout=180,
            check=False,
        )
        out.seek(0)
        err.seek(0)
        return Ran(code=done.returncode, out=out.read(), err=err.read())


def programs_of_examples() -> dict[str, Example]:
    """Return the examples that can be run, without the configurations of other programs."""
    return {each.path: each for each in examples() if each.path.endswith((".py", ".ipynb"))}


def command_of(example: Example) -> str:
    """Return the command that runs an example. Raises ValueError if its first text does not name one."""
    if example.path.endswith(".ipynb"):
        return f"python {ROOT / 'scripts' / 'run_notebook.py'} {example.path}"
    found = re.search(r"pip install .*\n *((?:python|pytest) [^#\n]+)", example.source)
    if found is None:
        raise ValueError(f"{example.path} must name, below `pip install`, the command that runs it")
    return found[1].strip()


def faults_of_example(example: Example, programs: Path, folder: Path) -> list[str]:
    """Run an example, and return its faults."""
    shutil.copy(EXAMPLES / example.path, folder)
    ran = run(command_of(example), programs, folder, {})
    last = ran.out.strip()
    seen = _SEEN.search(last)
    if ran.faults or _TESTED.search(last):
        return ran.faults
    if seen is None:
        return [f"its last lines are:\n{last[-500:]}"]
    reported = sum(int(count) for count in re.findall(r"\d+(?= in session | without a session)", seen["counts"]))
    with LocalServer(seen["file"]) as server, Client(server.api_key, endpoint=server.url) as client:
        stored = len(list(client.traces.iter()))
    return [] if reported == stored > 0 else [f"it reports {reported} traces, but {stored} are stored"]


def extras() -> list[str]:
    """Return the extras with a page. Raises ValueError for an extra without a known program."""
    project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found = [name for name in project["optional-dependencies"] if name not in WITHOUT_A_PAGE]
    if unknown := [name for name in found if name not in OTHER_EXTRAS and not (SNIPPETS / f"{name}.py").exists()]:
        raise ValueError(f"nothing to run for {', '.join(unknown)}: add it to {SNIPPETS} or to OTHER_EXTRAS")
    return found


def faults_of_extra(name: str, programs: Path, folder: Path) -> list[str]:
    """Run the program on the page of an extra, and return its faults."""
    sys.path.append(str(ROOT / "tests" / "support"))
    from redis_server import RedisServer

    with LocalServer(limit=None) as server, RedisServer() as redis:
        if name in INTEGRATIONS:
            return _faults_of_integration(name, programs, folder, server)
        program = OTHER_EXTRAS[name]
        if program.is_python:
            (folder / "app.py").write_text(program.text, encoding="utf-8")
        variables = {**server.environment(name), "REDIS": redis.url}
        ran = run("python app.py" if program.is_python else program.text, programs, folder, variables)
        written = ran.out + ran.err
        return ran.faults or (
            [] if program.says in written else [f"its output does not contain {program.says!r}:\n{written}"]
        )


def _faults_of_integration(name: str, programs: Path, folder: Path, server: LocalServer) -> list[str]:
    from doc_models import models, page_script

    shutil.copy(SNIPPETS / f"{name}.py", folder / "app.py")
    with models(page_script(name)) if name in FRAMEWORKS else models() as model:
        ran = run("python app.py", programs, folder, {**model, **server.environment(name)})
    if ran.faults:
        return ran.faults
    wanted = {"LLM": name not in ASKS_NO_MODEL, "TOOL": name in FRAMEWORKS}
    with Client(server.api_key, name, server.url) as client:
        kinds = {span.kind for trace in client.traces.iter() for span in client.traces.get(trace).spans}
    missing = [kind for kind, is_wanted in wanted.items() if is_wanted and kind not in kinds]
    return [f"its traces have no {kind} span, only {sorted(kinds)}" for kind in missing]


def main(kind: str, name: str, programs: str) -> int:
    """Run one program, print its faults, and return the exit code."""
    with tempfile.TemporaryDirectory(prefix="reader.", ignore_cleanup_errors=True) as home:
        folder = Path(home)
        if kind == "example":
            found = faults_of_example(programs_of_examples()[name], Path(programs), folder)
        else:
            found = faults_of_extra(name, Path(programs), folder)
    for fault in found:
        print(f"{name}: {fault}", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
