"""`pandaprobe-otel run -- CMD`: trace any Python program without changing its code."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import click

from pandaprobe_otel.cli.exit_codes import ExitCode

# If a distribution of OpenTelemetry is installed, each of these defaults to `otlp`. The whole set-up then fails if that
# exporter is not installed.
_DEFAULTS: Final = {
    "OTEL_TRACES_EXPORTER": "none",
    "OTEL_METRICS_EXPORTER": "none",
    "OTEL_LOGS_EXPORTER": "none",
}


@click.command("run", context_settings={"allow_interspersed_args": False})
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def run_command(command: tuple[str, ...]) -> int:
    """Run a Python program with auto-instrumentation, for example `pandaprobe-otel run -- python app.py`.

    The program needs no set-up code. Settings come from PANDAPROBE_* variables. OpenTelemetry variables that are
    already set stay as they are. The exit code is the program's.
    """
    executable = find_command(command[0], os.environ)
    if executable is None:
        click.echo(f"pandaprobe-otel: {command[0]}: command not found.", err=True)
        return ExitCode.GENERAL
    return _execute([executable, *command[1:]], environment(os.environ, cwd=Path.cwd()))


def find_command(name: str, current: Mapping[str, str]) -> str | None:
    """Return the path of a command; None if it does not exist.

    Commands beside this Python have priority: another Python would not find this library.
    """
    beside = str(Path(sys.executable).parent)
    return shutil.which(name, path=os.pathsep.join([beside, current.get("PATH", os.defpath)]))


def environment(current: Mapping[str, str], *, cwd: Path) -> dict[str, str]:
    """Return an environment with which Python loads OpenTelemetry's auto-instrumentation at its start."""
    variables = {**_DEFAULTS, **{name: value for name, value in current.items() if value or name not in _DEFAULTS}}
    # Traces reach PandaProbe through our instrumentor, with and without a distribution. The exporter of the same name
    # needs a distribution, and disables the instrumentor.
    exporters = [name.strip() for name in variables["OTEL_TRACES_EXPORTER"].split(",")]
    variables["OTEL_TRACES_EXPORTER"] = ",".join(name for name in exporters if name != "pandaprobe") or "none"
    hook = str(_hook_directory())
    others = [entry for entry in current.get("PYTHONPATH", "").split(os.pathsep) if entry and entry != hook]
    if str(cwd) not in others:
        # As opentelemetry-instrument does: a console script (gunicorn) does not have the working directory on its path.
        others.insert(0, str(cwd))
    variables["PYTHONPATH"] = os.pathsep.join([hook, *others])
    return variables


def _hook_directory() -> Path:
    """Return the directory with the `sitecustomize` that starts the instrumentation."""
    spec = find_spec("opentelemetry.instrumentation.auto_instrumentation")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("opentelemetry-instrumentation is not installed", name="opentelemetry")
    return Path(spec.origin).parent


def _execute(arguments: list[str], variables: dict[str, str]) -> int:
    if sys.platform != "win32":  # On Windows, exec starts a second process and does not wait for it.
        os.execve(arguments[0], arguments, variables)
    return subprocess.call(arguments, env=variables)
