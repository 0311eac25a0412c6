"""Checks of a server: whether it accepts the API key, and whether a test trace arrives."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from pandaprobe_otel.cli.exit_codes import ExitCode
from pandaprobe_otel.errors import AuthError, ServerError
from pandaprobe_otel.transport.http import HttpTransport
from pandaprobe_otel.transport.outcome import (
    Answer,
    Request,
    Transport,
    Verdict,
    VerdictKind,
    api_key_headers,
    json_object,
    judge,
    lacks_key,
)

if TYPE_CHECKING:
    from pandaprobe_otel.config.resolve import Config

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


_TIMEOUT_S: Final = 20.0
_NAME: Final = "pandaprobe-otel doctor"
_DATE_LAGS_S: Final = 5.0
"""Longest time by which a Date header may lag behind the server's clock: it has whole seconds, and uvicorn renews it
once a second, or later if it is busy (seen: 2.1 s)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundTrip:
    """Result of sending a trace and reading it back: the duration, and the lead of this clock.

    `clock_ahead_s` is the smallest lead that the server's Date headers allow; 0 if the clocks may agree, None without
    headers.
    """

    arrived: bool
    message: str
    trace_id: str | None = None
    seconds: float | None = None
    clock_ahead_s: float | None = None

    @property
    def exit_code(self) -> ExitCode:
        """Exit code of the command."""
        return ExitCode.OK if self.arrived else ExitCode.API


def round_trip(config: Config) -> RoundTrip:
    """Send one trace (billed; may create the project) and wait until it can be read."""
    from opentelemetry.sdk.trace import TracerProvider

    from pandaprobe_otel.mapping.ids import trace_uuid
    from pandaprobe_otel.pipeline.export_pipeline import ExportPipeline
    from pandaprobe_otel.sdk.processor import PandaProbeSpanProcessor

    is_empty = _is_empty(config)
    pipeline = ExportPipeline(config, counts_starts=True)
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(PandaProbeSpanProcessor(pipeline=pipeline))
    begun = time.monotonic()
    with provider.get_tracer("pandaprobe_otel").start_as_current_span(
        _NAME, attributes={"gen_ai.operation.name": "invoke_agent"}
    ) as span:
        trace_id = trace_uuid(span.get_span_context().trace_id)
    delivered = pipeline.flush(_TIMEOUT_S)
    status = pipeline.status()
    provider.shutdown()
    if not delivered or not status.traces_delivered:
        why = status.last_error or "no answer came in time"
        return RoundTrip(arrived=False, message=f"the trace was not delivered: {why}", trace_id=trace_id)
    trip = _read_back(config, trace_id, begun)
    hint = f"; project {config.project_name!r} had no traces before: is this its name?" if is_empty else ""
    return replace(trip, message=f"{trip.message}{hint}")


def _is_empty(config: Config) -> bool:
    """Return whether the project has no traces, as a new one: a misspelt name makes a new project."""
    transport = _transport(config)
    try:
        answer = transport.send(Request(method="GET", path="/traces?limit=1", timeout_s=5.0))
    finally:
        transport.close()
    return isinstance(answer, Answer) and answer.status == 200 and json_object(answer.body).get("total") == 0


def _transport(config: Config) -> HttpTransport:
    return HttpTransport(config.endpoint, api_key_headers(config.fixed_key or "", config.project_name))


def _read_back(config: Config, trace_id: str, begun: float) -> RoundTrip:
    transport = _transport(config)
    try:
        ahead: float | None = None
        clock = _ClockDifference()
        while time.monotonic() < begun + _TIMEOUT_S:
            sent_at = time.time()
            answer = transport.send(Request(method="GET", path=f"/traces/{trace_id}", timeout_s=5.0))
            if isinstance(answer, Answer):
                ahead = clock.ahead_s(answer.headers.get("date"), sent_at, time.time())
                if answer.status == 200:
                    seconds = round(time.monotonic() - begun, 2)
                    message = f"trace {trace_id} was there after {seconds} s"
                    return RoundTrip(
                        arrived=True, message=message, trace_id=trace_id, seconds=seconds, clock_ahead_s=ahead
                    )
            time.sleep(0.35)  # The server allows 200 requests a minute on this path.
    finally:
        transport.close()
    message = f"trace {trace_id} was accepted, but cannot be read after {_TIMEOUT_S:.0f} s"
    return RoundTrip(arrived=False, message=message, trace_id=trace_id, clock_ahead_s=ahead)


class _ClockDifference:
    """Bounds on the lead of this clock over the server's, narrowed by each answer."""

    def __init__(self) -> None:
        self._least_s, self._most_s = -math.inf, math.inf

    def ahead_s(self, date: str | None, sent_at: float, received_at: float) -> float | None:
        """Return the smallest lead that all Date headers so far allow."""
        try:
            server = parsedate_to_datetime(date or "").timestamp()
        except (TypeError, ValueError):
            return None
        self._least_s = max(self._least_s, sent_at - server - _DATE_LAGS_S)
        self._most_s = min(self._most_s, received_at - server)
        return round(max(self._least_s, 0.0) + min(self._most_s, 0.0), 1)
