"""The command line as a whole: help, version, bad input, missing extras, exit codes."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import click
import pytest

from command_line import clean_environment, run_command_line, run_here
from pandaprobe_otel import errors
from pandaprobe_otel.cli import app as app_module
from pandaprobe_otel.cli.exit_codes import ExitCode, exit_code_of


def test_version(tmp_path: Path) -> None:
    """`--version` prints the version of the distribution."""
    done = run_command_line("--version", environment=clean_environment(tmp_path))

    assert (done.returncode, done.stdout) == (0, f"pandaprobe-otel {version('pandaprobe-otel')}\n")


@pytest.mark.parametrize("arguments", [(), ("--help",), ("-h",)])
def test_help_lists_the_commands(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """Without arguments, as with --help, the command lists its commands and exit codes."""
    done = run_here(*arguments, environment=clean_environment(tmp_path))

    assert done.returncode == 0
    for words in ("demo", "doctor", "local", "run", "Exit codes: 0 success"):
        assert words in done.stdout


@pytest.mark.parametrize("arguments", [("nope",), ("--nope",), ("run",), ("doctor", "--format", "xml")])
def test_bad_input_ends_with_4(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """A command line that cannot be parsed ends with code 4, an error message and no output."""
    done = run_here(*arguments, environment=clean_environment(tmp_path))

    assert (done.returncode, done.stdout) == (4, "")
    assert "Error: " in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("missing", "arguments", "extra"),
    [
        ("click", ["--version"], "cli"),
        ("rich", ["doctor", "--offline"], "cli"),
        ("uvicorn", ["local"], "local"),
        ("openai", ["demo"], "demo"),
        ("fastapi", ["demo"], "demo"),
    ],
)
def test_a_missing_extra_is_named(tmp_path: Path, missing: str, arguments: list[str], extra: str) -> None:
    """For a missing extra, even the command line's own, one line on standard error names what to install."""
    code = f"import sys; sys.modules[{missing!r}] = None; from pandaprobe_otel.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=clean_environment(tmp_path, PANDAPROBE_API_KEY="sk_pp_" + "1" * 64),
        capture_output=True,
        encoding="utf-8",
        check=False,
    )

    assert done.returncode == 1
    assert done.stderr == (
        f'pandaprobe-otel: {missing} is not installed. Install it with: pip install "pandaprobe-otel[{extra}]"\n'
    )


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.AuthError("no"), 2),
        (errors.KeyExpired("no"), 2),
        (errors.PermissionDenied("no"), 2),
        (errors.NotFound("no"), 3),
        (errors.InvalidRequest("no"), 4),
        (errors.ConfigError("no"), 4),
        (errors.Conflict("no"), 5),
        (errors.QuotaExceeded("no"), 5),
        (errors.RateLimited("no"), 5),
        (errors.ServerError("no"), 5),
        (errors.OutcomeUnknown("no"), 5),
        (errors.PandaProbeError("no"), 5),
    ],
)
def test_errors_have_the_codes_of_the_pandaprobe_command(error: errors.PandaProbeError, code: int) -> None:
    """Errors have the codes 2 (credentials), 3 (not found), 4 (validation) or 5 (any other answer)."""
    assert exit_code_of(error) == code


@pytest.mark.parametrize(
    ("raised", "code", "words"),
    [
        (errors.NotFound("no such trace"), ExitCode.NOT_FOUND, "pandaprobe-otel: no such trace"),
        (click.Abort(), ExitCode.INTERRUPTED, ""),
        (OSError("disk full"), ExitCode.GENERAL, "pandaprobe-otel: OSError: disk full"),
        (ZeroDivisionError("oops"), ExitCode.GENERAL, "PANDAPROBE_DEBUG=true"),
        (ModuleNotFoundError("No module named 'mars'", name="mars"), ExitCode.GENERAL, "No module named 'mars'"),
    ],
)
def test_an_exception_of_a_command_becomes_one_line(
    capsys: pytest.CaptureFixture[str], raised: BaseException, code: ExitCode, words: str
) -> None:
    """Every exception of a command becomes an exit code and at most one line, without a traceback."""

    @app_module.app.command("raises")
    def raises() -> None:
        raise raised

    try:
        result = app_module.run(["raises"])
    finally:
        del app_module.app.commands["raises"]

    assert result == code
    error_output = capsys.readouterr().err
    assert words in error_output
    assert len(error_output.strip().splitlines()) <= 1


def test_the_traceback_is_there_for_who_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    """With PANDAPROBE_DEBUG, an exception of a command is raised."""

    @app_module.app.command("raises")
    def raises() -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setenv("PANDAPROBE_DEBUG", "true")
    try:
        with pytest.raises(ZeroDivisionError):
            app_module.run(["raises"])
    finally:
        del app_module.app.commands["raises"]
