"""The command group. An error becomes one line on standard error and an exit code, never a traceback."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, cast

import click

from pandaprobe_otel.cli.demo import demo
from pandaprobe_otel.cli.doctor import doctor
from pandaprobe_otel.cli.exit_codes import ExitCode, exit_code_of
from pandaprobe_otel.cli.extras import missing_extra
from pandaprobe_otel.cli.local import local
from pandaprobe_otel.cli.run import run_command
from pandaprobe_otel.errors import OutcomeUnknown, PandaProbeError

_EPILOG = (
    "Exit codes: 0 success, 1 failure, 2 credentials, 3 not found, 4 invalid input or settings, 5 other API error, 6 "
    "no evidence."
)


# Commands that call the API load pydantic, so they are imported only when called.
_LATER = {
    "evals": "evals",
    "failures": "failures",
    "gateway": "gateway",
    "mcp": "mcp",
    "monitors": "evals",
    "replay": "replay",
    "scores": "evals",
    "send": "send",
    "sessions": "traces",
    "skill": "skill",
    "spool": "spool",
    "traces": "traces",
    "view": "view",
}
"""Modules by command."""


class _App(click.Group):
    """Group that imports a command of `_LATER` when it is called."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        for name in _LATER:
            self.add_command(click.Command(name))  # In its place, click lists the name and suggests it after a slip.

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command by name, importing it if necessary."""
        if cmd_name in _LATER:
            module = import_module(f"pandaprobe_otel.cli.{_LATER[cmd_name]}")
            return cast("click.Command", getattr(module, cmd_name))
        return super().get_command(ctx, cmd_name)


@click.group(
    name="pandaprobe-otel",
    cls=_App,
    context_settings={"help_option_names": ["-h", "--help"], "show_default": True},
    invoke_without_command=True,
    epilog=_EPILOG,
)
@click.version_option(package_name="pandaprobe-otel", message="%(prog)s %(version)s")
@click.pass_context
def app(context: click.Context) -> None:
    """PandaProbe for OpenTelemetry: try it, run it locally, diagnose problems."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


for _command in (demo, doctor, local, run_command):
    app.add_command(_command)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run a command line (default: the process's) and return its exit code. Raises nothing but SystemExit."""
    try:
        result: Any = app.main(args=arguments, prog_name="pandaprobe-otel", standalone_mode=False)
    except click.UsageError as error:
        error.show()
        return ExitCode.VALIDATION
    except click.ClickException as error:
        return _fail(error.format_message(), ExitCode.GENERAL)
    except click.Abort:
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        return _reader_is_gone()
    except OutcomeUnknown as error:
        lost = str(error).removesuffix(error.advice).rstrip()  # The advice names a method of the Python client.
        return _fail(f"{lost} Check whether it was carried out before you repeat it.", exit_code_of(error))
    except PandaProbeError as error:
        return _fail(str(error), exit_code_of(error))
    except ModuleNotFoundError as error:
        return _fail(missing_extra(error), ExitCode.GENERAL)
    except Exception as error:  # noqa: BLE001 - the last line of defence of a command line
        return _unexpected(error)
    return result if isinstance(result, int) else ExitCode.OK


def _reader_is_gone() -> int:
    """End without an error if the reader of our output is gone (`| head`).

    This includes the output that Python flushes at exit.
    """
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return ExitCode.OK


def _unexpected(error: Exception) -> int:
    if os.environ.get("PANDAPROBE_DEBUG", "").strip().lower() in ("1", "true", "yes", "on"):
        raise error
    hint = "" if isinstance(error, OSError) else " (PANDAPROBE_DEBUG=true shows the traceback)"
    return _fail(f"{type(error).__name__}: {error}{hint}", ExitCode.GENERAL)


def _fail(message: str, code: ExitCode) -> int:
    click.echo(f"pandaprobe-otel: {message}", err=True)
    return code
