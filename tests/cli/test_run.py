"""`pandaprobe-otel run`: the environment that it prepares and the program that replaces it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from command_line import COMMAND, clean_environment, run_command_line, run_here
from pandaprobe_otel.cli.run import environment, find_command
from pandaprobe_otel.demo.scripted_endpoint import ScriptedEndpoint
from pandaprobe_otel.demo.shop_script import shop_script
from pandaprobe_otel.local import LocalServer


def test_exporters_default_to_none(tmp_path: Path) -> None:
    """OpenTelemetry's exporters default to none, since the usual ones may not be installed."""
    variables = environment({}, cwd=tmp_path)

    assert {name: variables[f"OTEL_{name}_EXPORTER"] for name in ("TRACES", "METRICS", "LOGS")} == {
        "TRACES": "none",
        "METRICS": "none",
        "LOGS": "none",
    }


def test_the_users_variables_stay(tmp_path: Path) -> None:
    """Variables that the user has set stay; an empty one counts as unset, as OpenTelemetry specifies."""
    variables = environment(
        {"OTEL_TRACES_EXPORTER": "console", "OTEL_LOGS_EXPORTER": "", "PANDAPROBE_SPANS": "all", "EMPTY": ""},
        cwd=tmp_path,
    )

    assert variables["OTEL_TRACES_EXPORTER"] == "console"
    assert variables["OTEL_LOGS_EXPORTER"] == "none"
    assert variables["PANDAPROBE_SPANS"] == "all"
    assert variables["EMPTY"] == ""


@pytest.mark.parametrize(("given", "left"), [("pandaprobe", "none"), ("console, pandaprobe", "console")])
def test_our_exporter_gives_way_to_our_instrumentor(tmp_path: Path, given: str, left: str) -> None:
    """Our exporter is removed from OTEL_TRACES_EXPORTER, since our instrumentor sends the traces."""
    assert environment({"OTEL_TRACES_EXPORTER": given}, cwd=tmp_path)["OTEL_TRACES_EXPORTER"] == left


def test_the_hook_comes_first_on_the_path(tmp_path: Path) -> None:
    """OpenTelemetry's sitecustomize is first on PYTHONPATH, once, and the user's entries keep their order."""
    once = environment({"PYTHONPATH": os.pathsep.join(["/one", "/two"])}, cwd=tmp_path)
    twice = environment(once, cwd=tmp_path)

    hook, *others = once["PYTHONPATH"].split(os.pathsep)
    assert (Path(hook) / "sitecustomize.py").is_file()
    assert others == [str(tmp_path), "/one", "/two"]
    assert twice["PYTHONPATH"] == once["PYTHONPATH"]


def test_commands_of_this_python_come_first() -> None:
    """`python` is the interpreter that has this library, whatever PATH contains."""
    found = find_command("python", {"PATH": os.defpath})

    assert found is not None
    assert Path(found).parent == Path(sys.executable).parent


def test_a_command_that_does_not_exist(tmp_path: Path) -> None:
    """An unknown program ends with code 1 and one line."""
    done = run_here("run", "--", "no-such-program-here", environment=clean_environment(tmp_path))

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "pandaprobe-otel: no-such-program-here: command not found.\n"


@pytest.mark.parametrize("dashes", [["--"], []])
def test_the_program_takes_the_place_of_the_command(tmp_path: Path, dashes: list[str]) -> None:
    """The program gets all arguments after its name, standard input and output, and its exit code is returned."""
    program = "import sys; print(sys.argv[1:], input()); sys.exit(7)"
    done = subprocess.run(
        [COMMAND, "run", *dashes, "python", "-c", program, "-h", "--format=x"],
        input="hello\n",
        env=clean_environment(tmp_path),
        capture_output=True,
        encoding="utf-8",
        check=False,
    )

    assert (done.returncode, done.stdout) == (7, "['-h', '--format=x'] hello\n")


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
        traces = _traces(server)
        (exchange,) = model.exchanges

    assert (done.returncode, done.stdout, done.stderr) == (0, "look_up_order\n", "")
    ((span,),) = [trace["spans"] for trace in traces]
    assert (span["kind"], span["model"]) == ("LLM", "m-1")
    assert span["token_usage"]["prompt_tokens"] == exchange.usage.prompt_tokens
    assert span["input"]["messages"][0]["content"] == "Where is my order 17?"


def _traces(server: LocalServer) -> list[dict[str, Any]]:
    headers = {"X-API-Key": server.api_key, "X-Project-Name": "p"}
    with httpx.Client(base_url=server.url, headers=headers, trust_env=False, timeout=60) as client:
        listed: list[dict[str, Any]] = client.get("/traces").json()["items"]
        return [client.get(f"/traces/{trace['trace_id']}").json() for trace in listed]
