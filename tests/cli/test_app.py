"""The command line as a whole: help, version, bad input, missing extras, exit codes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
import pytest

from command_line import clean_environment, run_here
from pandaprobe_otel import errors
from pandaprobe_otel.cli import app as app_module
from pandaprobe_otel.cli.exit_codes import ExitCode


@pytest.mark.parametrize(
    ("arguments", "suggested"),
    [
        (("nope",), ""),
        (("--nope",), ""),
        (("run",), ""),
        (("doctor", "--format", "xml"), ""),
        (("trace",), "Did you mean 'traces'?"),
        (("traces", "lst"), "Did you mean 'list'?"),
    ],
)
def test_bad_input_ends_with_4(tmp_path: Path, arguments: tuple[str, ...], suggested: str) -> None:
    """A command line that cannot be parsed ends with code 4, without output, and a slip gets a suggestion."""
    done = run_here(*arguments, environment=clean_environment(tmp_path))

    assert (done.returncode, done.stdout) == (4, "")
    assert "Error: " in done.stderr
    assert ("Did you mean" in done.stderr, suggested in done.stderr) == (suggested != "", True)
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("arguments", [(), ("--help",)])
def test_help_lists_the_commands(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """Without arguments, as with --help, the command lists its commands and exit codes."""
    done = run_here(*arguments, environment=clean_environment(tmp_path))

    assert done.returncode == 0
    for words in ("demo", "doctor", "local", "run", "Exit codes: 0 success"):
        assert words in done.stdout


@pytest.mark.parametrize(
    ("missing", "arguments", "extra"),
    [
        ("click", ["--version"], "cli"),
        ("uvicorn", ["local"], "local"),
        ("openai", ["demo"], "demo"),
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
    ("raised", "code", "words"),
    [
        (errors.NotFound("no such trace"), ExitCode.NOT_FOUND, "pandaprobe-otel: no such trace"),
        (errors.KeyExpired("expired"), ExitCode.AUTH, "expired"),
        (errors.PermissionDenied("403 no"), ExitCode.AUTH, "403 no"),
        (errors.QuotaExceeded("used up"), ExitCode.API, "used up"),
        (errors.ServerError("not JSON"), ExitCode.API, "not JSON"),
        (click.Abort(), ExitCode.INTERRUPTED, ""),
        (OSError("disk full"), ExitCode.GENERAL, "pandaprobe-otel: OSError: disk full"),
        (ZeroDivisionError("oops"), ExitCode.GENERAL, "PANDAPROBE_DEBUG=true"),
        (ModuleNotFoundError("No module named 'mars'", name="mars"), ExitCode.GENERAL, "No module named 'mars'"),
    ],
)
def test_an_exception_of_a_command_becomes_one_line(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    raised: BaseException,
    code: ExitCode,
    words: str,
) -> None:
    """Every exception of a command becomes an exit code and at most one line; PANDAPROBE_DEBUG shows the traceback."""

    @app_module.app.command("raises")
    def raises() -> None:
        raise raised

    try:
        result = app_module.run(["raises"])
        error_output = capsys.readouterr().err
        monkeypatch.setenv("PANDAPROBE_DEBUG", "true")
        if isinstance(raised, ZeroDivisionError | OSError):
            with pytest.raises(type(raised)):
                app_module.run(["raises"])
    finally:
        del app_module.app.commands["raises"]

    assert result == code
    assert words in error_output
    assert len(error_output.strip().splitlines()) <= 1
