"""Exit codes: the same as those of the `pandaprobe` command, so that scripts can use either."""

from __future__ import annotations

from enum import IntEnum

from pandaprobe_otel.errors import (
    AuthError,
    ConfigError,
    InvalidRequest,
    NotFound,
    PandaProbeError,
    PermissionDenied,
)


class ExitCode(IntEnum):
    """What a command ends with."""

    OK = 0
    GENERAL = 1
    AUTH = 2
    NOT_FOUND = 3
    VALIDATION = 4
    API = 5
    INTERRUPTED = 130
    """Ctrl-C, by the convention of shells: 128 and the number of the signal."""


def exit_code_of(error: PandaProbeError) -> ExitCode:
    """Return the exit code that an error of the library stands for."""
    match error:
        case AuthError() | PermissionDenied():
            return ExitCode.AUTH
        case NotFound():
            return ExitCode.NOT_FOUND
        case InvalidRequest() | ConfigError():
            return ExitCode.VALIDATION
        case _:
            return ExitCode.API
