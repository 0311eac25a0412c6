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
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from docs_pages.examples_page import EXAMPLES, Example, examples
from docs_pages.integration_pages import SNIPPETS
from pandaprobe_otel import Client
from pandaprobe_otel.local import LocalServer
from pandaprobe_otel.registry import INTEGRATIONS

ROOT: Final = Path(__file__).resolve().parents[1]
FRAMEWORKS: Final = frozenset(path.stem for path in (ROOT / "tests" / "frameworks" / "environments").glob("*.toml"))
"""Frameworks, on whose pages a program calls a tool."""
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


def run(command: str, programs: str, folder: Path, variables: Mapping[str, str]) -> str:
    """Run a shell command in a folder, with the environment's `python` and only these variables; return its output.

    Exits for a failure of the command, and for a warning about this library.
    """
    kept = {name: value for name, value in os.environ.items() if not _OF_THE_CALLER.match(name)}
    kept["PANDAPROBE_SHUTDOWN_TIMEOUT"] = "60"  # The machine may be busy.
    path = os.pathsep.join([programs, kept.get("PATH", os.defpath)])
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
    found = re.search(r"pip install .*\n *((?:python|pytest) [^#\n]+)", example.source)
    if found is None:
        raise ValueError(f"{example.path} must name, below `pip install`, the command that runs it")
    return found[1].strip()


def run_example(name: str, programs: str, folder: Path) -> None:
    """Run an example; exits for a fault."""
    example = programs_of_examples()[name]
    shutil.copy(EXAMPLES / name, folder)
    last = run(command_of(example), programs, folder, {}).strip()
    if _TESTED.search(last):
        return
    seen = _SEEN.search(last)
    if seen is None:
        sys.exit(f"its last lines are:\n{last[-500:]}")
    reported = sum(int(count) for count in re.findall(r"\d+(?= in session | without a session)", seen["counts"]))
    with LocalServer(seen["file"]) as server, Client(server.api_key, endpoint=server.url) as client:
        stored = len(list(client.traces.iter()))
    if not reported == stored > 0:
        sys.exit(f"it reports {reported} traces, but {stored} are stored")


def run_extra(name: str, programs: str, folder: Path) -> None:
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
        shutil.copy(SNIPPETS / f"{name}.py", folder / "app.py")
        with models(page_script(name)) if name in FRAMEWORKS else models() as model:
            run("python app.py", programs, folder, {**model, **variables})
        with Client(server.api_key, name, server.url) as client:
            kinds = {span.kind for trace in client.traces.iter() for span in client.traces.get(trace).spans}
    for kind, is_wanted in (("LLM", name != "mcp"), ("TOOL", name in FRAMEWORKS)):
        if is_wanted and kind not in kinds:
            sys.exit(f"its traces have no {kind} span, only {sorted(kinds)}")


def main(kind: str, name: str, programs: str) -> None:
    """Run one program."""
    with tempfile.TemporaryDirectory(prefix="reader.", ignore_cleanup_errors=True) as home:
        (run_example if kind == "example" else run_extra)(name, programs, Path(home))


if __name__ == "__main__":
    main(*sys.argv[1:])
