"""Run a program as its reader does: in an environment with only what its page installs, and an empty folder.

    python scripts/run_as_reader.py example FILE PROGRAMS    a file of examples/, without a key
    python scripts/run_as_reader.py extra NAME PROGRAMS      the program on the page of an extra

PROGRAMS is the folder with the environment's `python` (`nox -s examples extras` makes the environments). A program must
exit with 0 and without a warning of this library. An example must name its traces at the end, or the results of its
tests. For an extra, a scripted model and a local PandaProbe run in this process, and must have seen its calls.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from pandaprobe_otel import Client
from pandaprobe_otel.local import LocalServer
from pandaprobe_otel.registry import INTEGRATIONS
from write_docs import EXAMPLES, ROOT, SNIPPETS, Example, examples

FRAMEWORKS: Final = frozenset(path.stem for path in (ROOT / "tests" / "frameworks" / "environments").glob("*.toml"))
"""Frameworks, on whose pages a program calls a tool, except for Instructor, which extracts an object."""
_NO_WARNING: Final = re.compile(r"^pandaprobe: |\bINFO\b")
"""Pattern of lines that are not warnings: progress, and log lines with the level INFO."""
_LAST_LINES: Final = re.compile(
    r"(Traces: [1-9].*\nLook at them: pandaprobe-otel local --db \S+|\n=+ 6 passed, 2 xfailed in .*)$"
)
_SERVED: Final = """
{} >said &
until grep -q http said; do sleep 0.1; done
kill $!
wait $! || true
cat said
"""
_AGENT: Final = """python - <<END
import pandaprobe_otel

pandaprobe_otel.init()
with pandaprobe_otel.session("conversation-1"), pandaprobe_otel.agent("shop_assistant"):
    with pandaprobe_otel.llm("chat", model="gpt-4o-mini") as call:
        call.set_token_usage(prompt_tokens=1000, completion_tokens=1000)
pandaprobe_otel.flush()
print({})
END
"""
_EVALUATION: Final = """python - <<END
from pandaprobe_otel.evals import MatchesSchema, evaluate

print(evaluate(["1"], str, [MatchesSchema({"type": "integer"})]).rate)
END
"""
_COST: Final = "'cost', *(trace.total_cost for trace in pandaprobe_otel.Client().traces.iter())"
_PANDAS: Final = "pandaprobe_otel.Client().sessions.get('conversation-1').to_pandas().shape"
OTHER_EXTRAS: Final[Mapping[str, tuple[str, str]]] = {
    "cli": ("pandaprobe-otel traces list 2>&1", "nothing found"),
    "cost": (f"export PANDAPROBE_COMPUTE_COST=true; {_AGENT.format(_COST)}", "cost 0.0"),
    "demo": ("pandaprobe-otel demo", "Look at it in the browser"),
    "evals": (_EVALUATION, "1/1 passed"),
    "gateway": (_SERVED.format("pandaprobe-otel gateway --http-port 0 --grpc-port 0"), "OTLP"),
    "local": (_SERVED.format("pandaprobe-otel local --port 0"), "PANDAPROBE_ENDPOINT="),
    "pandas": (_AGENT.format(_PANDAS), "(1, "),
    "redis": (
        f"export PANDAPROBE_REDIS_URL=$REDIS; {_AGENT.format('pandaprobe_otel.status().traces_delivered')}",
        "1\n",
    ),
}
"""Commands for the extras other than integrations, and a text of their output.

They find a local PandaProbe by its variables, and $REDIS.
"""


def run(command: str, programs: str, folder: str, variables: Mapping[str, str]) -> str:
    """Run a shell command in a folder, with the environment's `python` and only these variables; return its output.

    Exits for a failure of the command, and for a warning about this library.
    """
    given = {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "HOME": folder,
        "TMPDIR": folder,
        "NO_PROXY": "127.0.0.1,localhost",
        "PANDAPROBE_SHUTDOWN_TIMEOUT": "60",  # the machine may be busy
        **variables,
    }
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        # Files, because a process that the program leaves running would keep a pipe open.
        shell = ["bash", "-euo", "pipefail", "-c", command]
        done = subprocess.run(
            shell, cwd=folder, env=given, stdin=subprocess.DEVNULL, stdout=out, stderr=err, timeout=180
        )
        out.seek(0)
        err.seek(0)
        printed, errors = out.read(), err.read()
    warned = [line for line in errors.splitlines() if "pandaprobe" in line and not _NO_WARNING.search(line)]
    if done.returncode or warned:
        sys.exit(f"exit code {done.returncode}, warnings {warned}\n{printed[-3000:]}\n{errors[-3000:]}")
    return printed


def programs_of_examples() -> dict[str, Example]:
    """Return the examples that can be run, without the configurations of other programs."""
    return {each.path: each for each in examples() if each.path.endswith((".py", ".ipynb"))}


def command_of(example: Example) -> str:
    """Return the command that runs an example. Raises ValueError if its first text does not name one."""
    if example.path.endswith(".ipynb"):
        return f"python {ROOT / 'scripts' / 'run_notebook.py'} {example.path}"
    found = re.search(r"pip install .*\n *((?:python|pytest) [^#\n]+)", example.about)
    if found is None:
        raise ValueError(f"{example.path} must name, below `pip install`, the command that runs it")
    return found[1].strip()


def run_example(name: str, programs: str, folder: str) -> None:
    """Run an example; exits for a fault."""
    shutil.copy(EXAMPLES / name, folder)
    last = run(command_of(programs_of_examples()[name]), programs, folder, {}).strip()
    if not _LAST_LINES.search(last):
        sys.exit(f"its last lines are:\n{last[-500:]}")


def run_extra(name: str, programs: str, folder: str) -> None:
    """Run the program on the page of an extra; exits for a fault."""
    sys.path.append(str(ROOT / "tests" / "support"))
    from doc_models import models, page_script
    from redis_server import RedisServer

    with LocalServer(limit=None) as server, RedisServer() as redis:
        variables = {**server.environment(name), "REDIS": redis.url}
        if name not in INTEGRATIONS:
            command, wanted = OTHER_EXTRAS[name]
            if wanted not in (printed := run(command, programs, folder, variables)):
                sys.exit(f"its output does not contain {wanted!r}:\n{printed}")
            return
        shutil.copy(SNIPPETS / f"{name}.py", Path(folder, "app.py"))
        with models(page_script(name)) if name in FRAMEWORKS else models() as model:
            run("python app.py", programs, folder, {**model, **variables})
        with Client(server.api_key, name, server.url) as client:
            kinds = {span.kind for trace in client.traces.iter() for span in client.traces.get(trace).spans}
    for kind, is_wanted in (("LLM", name != "mcp"), ("TOOL", name in FRAMEWORKS - {"instructor"})):
        if is_wanted and kind not in kinds:
            sys.exit(f"its traces have no {kind} span, only {sorted(kinds)}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="reader.", ignore_cleanup_errors=True) as home:
        (run_example if sys.argv[1] == "example" else run_extra)(sys.argv[2], sys.argv[3], home)
