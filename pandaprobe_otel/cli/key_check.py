"""A check of the API key that costs nothing and creates nothing on the server."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from pandaprobe_otel.cli.exit_codes import ExitCode
from pandaprobe_otel.errors import AuthError, ServerError
from pandaprobe_otel.transport.http import HttpTransport
from pandaprobe_otel.transport.request_outcome import Request, Transport
from pandaprobe_otel.transport.verdict import VerdictKind, judge

NO_KEY: Final = "the endpoint wants an API key, and there is none: set PANDAPROBE_API_KEY"


class KeyState(StrEnum):
    """The result of the question."""

    GOOD = "good"
    REFUSED = "refused"
    UNREACHABLE = "unreachable"
    UNCLEAR = "unclear"
    NOT_ASKED = "not asked"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyCheck:
    """The state of the key and, in words, what the endpoint said."""

    state: KeyState
    message: str

    @property
    def exit_code(self) -> ExitCode:
        """The exit code of the command that asked."""
        match self.state:
            case KeyState.GOOD | KeyState.NOT_ASKED:
                return ExitCode.OK
            case KeyState.REFUSED:
                return ExitCode.AUTH
            case _:
                return ExitCode.API


def require_key(endpoint: str, api_key: str) -> None:
    """Raise AuthError if the endpoint refuses the key, and ServerError if it cannot be asked."""
    check = check_key_at(endpoint, api_key)
    if check.state is KeyState.REFUSED:
        raise AuthError(f"{endpoint} refuses the API key: {check.message}")
    if check.state is not KeyState.GOOD:
        raise ServerError(f"{endpoint} does not take the API key: {check.message}")


def check_key_at(endpoint: str, api_key: str) -> KeyCheck:
    """Check a key over a connection of its own."""
    transport = HttpTransport(endpoint, {"X-API-Key": api_key} if api_key else {})
    try:
        check = check_key(transport)
    finally:
        transport.close()
    if api_key or check.state not in (KeyState.GOOD, KeyState.REFUSED):
        return check
    message = "the endpoint needs none" if check.state is KeyState.GOOD else f"{NO_KEY} ({check.message})"
    return replace(check, message=message)


def check_key(transport: Transport, *, timeout_s: float = 10.0) -> KeyCheck:
    """Ask for traces without naming a project; `transport` sends the key as X-API-Key and no X-Project-Name.

    The server checks the key first and the project second (measured on 0.5.0): 401 is a bad key, 422 about the
    project a good one. A request that named the project would create it.
    """
    verdict = judge(transport.send(Request(method="GET", path="/traces", timeout_s=timeout_s)))
    match verdict.kind:
        case VerdictKind.PROJECT | VerdictKind.DELIVERED:
            return KeyCheck(state=KeyState.GOOD, message="the endpoint accepts the key")
        case VerdictKind.AUTH:
            return KeyCheck(state=KeyState.REFUSED, message=verdict.message)
        case VerdictKind.RATE_LIMITED:
            return KeyCheck(state=KeyState.UNCLEAR, message=f"{verdict.message}; try again in a minute")
        case VerdictKind.UNAVAILABLE | VerdictKind.UNKNOWN:
            return KeyCheck(state=KeyState.UNREACHABLE, message=verdict.message)
        case _:
            message = f"{verdict.message} (is this the base URL of a PandaProbe?)"
            return KeyCheck(state=KeyState.UNCLEAR, message=message)
