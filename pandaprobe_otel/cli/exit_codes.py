"""Exit codes. They are those of the `pandaprobe` command, so that scripts work with either."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

from pandaprobe_otel.errors import (
    AuthError,
    ConfigError,
    InvalidRequest,
    NotFound,
    PandaProbeError,
    PermissionDenied,
    RecordingError,
)

if TYPE_CHECKING:
    from pandaprobe_otel.evals.verdicts import Outcome


class ExitCode(IntEnum):
    """Exit code of a command."""

    OK = 0
    GENERAL = 1
    AUTH = 2
    NOT_FOUND = 3
    VALIDATION = 4
    API = 5
    NO_EVIDENCE = 6
    """An evaluation in which nothing failed but not everything was judged. The `pandaprobe` command has no such code.
    """
    INTERRUPTED = 130
    """Ctrl-C. Shells use 128 plus the number of the signal."""


def exit_code_of_outcome(outcome: Outcome, *, allow_no_evidence: bool = False) -> ExitCode:
    """Return the exit code of a verdict."""
    if outcome == "no evidence":
        return ExitCode.OK if allow_no_evidence else ExitCode.NO_EVIDENCE
    return ExitCode.OK if outcome == "passed" else ExitCode.GENERAL


def exit_code_of(error: PandaProbeError) -> ExitCode:
    """Return the exit code of an error of the library."""
    match error:
        case AuthError() | PermissionDenied():
            return ExitCode.AUTH
        case NotFound():
            return ExitCode.NOT_FOUND
        case InvalidRequest() | ConfigError():
            return ExitCode.VALIDATION
        case RecordingError():
            return ExitCode.GENERAL
        case _:
            return ExitCode.API
