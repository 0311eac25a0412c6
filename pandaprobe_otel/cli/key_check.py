"""Check of the API key, which costs nothing and creates nothing on the server."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from pandaprobe_otel.cli.exit_codes import ExitCode
from pandaprobe_otel.errors import AuthError, ServerError
from pandaprobe_otel.transport.http import HttpTransport
from pandaprobe_otel.transport.outcome import Request, Transport, Verdict, VerdictKind, judge, lacks_key

NO_KEY: Final = "the endpoint requires an API key, but none is set: set PANDAPROBE_API_KEY"
_NO_NAME: Final = "/"
"""Name that no project can have, so that the request creates none."""


class KeyState(StrEnum):
    """Result of the check."""

    GOOD = "good"
    REFUSED = "refused"
    UNREACHABLE = "unreachable"
    UNCLEAR = "unclear"
    NOT_ASKED = "not asked"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyCheck:
    """State of the key, and the endpoint's answer in words."""

    state: KeyState
    message: str

    @property
    def exit_code(self) -> ExitCode:
        """Exit code of the command that checked the key."""
        match self.state:
            case KeyState.GOOD | KeyState.NOT_ASKED:
                return ExitCode.OK
            case KeyState.REFUSED:
                return ExitCode.AUTH
            case _:
                return ExitCode.API


def require_key(endpoint: str, api_key: str) -> None:
    """Raise AuthError if the endpoint refuses the key, or ServerError if the endpoint does not answer."""
    check = check_key_at(endpoint, api_key)
    if check.state is KeyState.REFUSED:
        raise AuthError(f"{endpoint} refuses the API key: {check.message}")
    if check.state is not KeyState.GOOD:
        raise ServerError(f"{endpoint} does not accept the API key: {check.message}")


def check_key_at(endpoint: str, api_key: str) -> KeyCheck:
    """Check a key over a new connection."""
    transport = HttpTransport(endpoint, {"X-API-Key": api_key} if api_key else {"X-Project-Name": _NO_NAME})
    try:
        check = check_key(transport, has_key=bool(api_key))
    finally:
        transport.close()
    return replace(check, message=f"{endpoint}: {check.message}") if check.state is KeyState.UNREACHABLE else check


def _is_open(verdict: Verdict) -> bool:
    return verdict.kind is VerdictKind.PROJECT and not lacks_key(verdict)


def check_key(transport: Transport, *, has_key: bool = True, timeout_s: float = 10.0) -> KeyCheck:
    """Request traces of no project. `transport` sends the key as X-API-Key, but no X-Project-Name.

    The server checks the key first and the project second (measured on 0.5.0). 401 means an invalid key; 422 about the
    project means a valid one. A request that named the project would create it. Without a key, `transport` sends a name
    that no project can have: only a server that needs no key refuses the name itself.
    """
    verdict = judge(transport.send(Request(method="GET", path="/traces", timeout_s=timeout_s)))
    match verdict.kind:
        case VerdictKind.AUTH | VerdictKind.PROJECT if not has_key and not _is_open(verdict):
            return KeyCheck(state=KeyState.REFUSED, message=f"{NO_KEY} ({verdict.message})")
        case VerdictKind.PROJECT | VerdictKind.DELIVERED if not has_key:
            return KeyCheck(state=KeyState.GOOD, message="the endpoint needs no key")
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
