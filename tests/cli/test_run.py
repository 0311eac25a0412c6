"""`pandaprobe-otel run`: the environment that it prepares and the program that replaces it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from command_line import COMMAND, clean_environment, run_command_line, run_here
from local_http import traces_of
from pandaprobe_otel.demo.scripted_endpoint import ScriptedEndpoint
from pandaprobe_otel.demo.scripts import shop_script
from pandaprobe_otel.local import LocalServer


def test_a_command_that_does_not_exist(tmp_path: Path) -> None:
    """An unknown program ends with code 1 and one line."""
    done = run_here("run", "--", "no-such-program-here", environment=clean_environment(tmp_path))

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "pandaprobe-otel: no-such-program-here: command not found.\n"


SHOWN = """
import json, os, sys
print(json.dumps([sys.executable, sys.argv[1:], input(), dict(os.environ)]))
sys.exit(7)
"""


def test_the_program_takes_the_place_of_the_command(tmp_path: Path) -> None:
    """The program runs in this Python with its arguments, standard input and exit code, and the user's variables.

    OpenTelemetry's exporters default to none, and its hook is first on the path. Our exporter gives way to our
    instrumentor.
    """
    given = {"OTEL_TRACES_EXPORTER": "console, pandaprobe", "OTEL_LOGS_EXPORTER": "", "PYTHONPATH": "/one", "EMPTY": ""}
    done = subprocess.run(
        [COMMAND, "run", COMMAND, "run", "--", "python", "-c", SHOWN, "-h", "--format=x"],
        input="hello\n",
        env=clean_environment(tmp_path, **given),
        cwd=tmp_path,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 7, done.stderr
    python, arguments, line, variables = json.loads(done.stdout)

    assert (Path(python).parent, arguments, line) == (Path(sys.executable).parent, ["-h", "--format=x"], "hello")
    exporters = [variables[f"OTEL_{name}_EXPORTER"] for name in ("TRACES", "METRICS", "LOGS")]
    assert (exporters, variables["EMPTY"]) == (["console", "none", "none"], "")
    hook, *others = variables["PYTHONPATH"].split(os.pathsep)
    assert (Path(hook) / "sitecustomize.py").is_file()
    assert others == [str(tmp_path), "/one"]


APP = """
import openai

client = openai.OpenAI()
answer = client.chat.completions.create(model="m-1", messages=[{"role": "user", "content": "Where is my order 17?"}])
print(answer.choices[0].message.tool_calls[0].function.name)
"""


def test_a_program_without_any_set_up_is_traced(tmp_path: Path) -> None:
    """A program without any set-up that calls OpenAI makes a trace with tokens and messages."""
    app = tmp_path / "app.py"
    app.write_text(APP)
    with LocalServer() as server, ScriptedEndpoint(shop_script) as model:
        environment = clean_environment(
            tmp_path,
            PANDAPROBE_ENDPOINT=server.url,
            PANDAPROBE_PROJECT_NAME="p",
            OPENAI_BASE_URL=model.base_url,
            OPENAI_API_KEY="any",
        )
        done = run_command_line("run", "--", "python", str(app), environment=environment)
        traces = traces_of(server, "p")
        (exchange,) = model.exchanges

    assert (done.returncode, done.stdout, done.stderr) == (0, "look_up_order\n", "")
    ((span,),) = [trace["spans"] for trace in traces]
    assert (span["kind"], span["model"]) == ("LLM", "m-1")
    assert span["token_usage"]["prompt_tokens"] == exchange.usage.prompt_tokens
    assert span["input"]["messages"][0]["content"] == "Where is my order 17?"
