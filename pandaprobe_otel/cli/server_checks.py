"""Checks of a server: whether it accepts the API key, and whether a test trace arrives."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from pandaprobe_otel.cli.exit_codes import ExitCode
from pandaprobe_otel.errors import AuthError, PandaProbeError, ServerError
from pandaprobe_otel.transport.http import HttpTransport
from pandaprobe_otel.transport.outcome import Request, VerdictKind, judge, lacks_key

if TYPE_CHECKING:
    from pandaprobe_otel.config.resolve import Config

KeyState = Literal["good", "refused", "unreachable", "unclear", "not asked"]

_NO_NAME: Final = "/"
"""Name that no project can have, so that the request creates none."""
_GOOD: Final = (VerdictKind.PROJECT, VerdictKind.DELIVERED)
_BAD: Final[dict[VerdictKind, tuple[KeyState, str]]] = {
    VerdictKind.AUTH: ("refused", "{0}"),
    VerdictKind.RATE_LIMITED: ("unclear", "{0}; try again in a minute"),
    VerdictKind.UNAVAILABLE: ("unreachable", "{1}: {0}"),
    VerdictKind.UNKNOWN: ("unreachable", "{1}: {0}"),
}
"""State of the key by the verdict on the answer, and the message: {0} is the verdict's, {1} is the endpoint."""
_EXIT_CODES: Final = {"good": ExitCode.OK, "not asked": ExitCode.OK, "refused": ExitCode.AUTH}
_TIMEOUT_S: Final = 20.0
_NAME: Final = "pandaprobe-otel doctor"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyCheck:
    """State of the key, and the endpoint's answer in words."""

    state: KeyState
    message: str

    @property
    def exit_code(self) -> ExitCode:
        """Exit code of the command that checked the key."""
        return _EXIT_CODES.get(self.state, ExitCode.API)


def require_key(endpoint: str, api_key: str) -> None:
    """Raise AuthError if the endpoint refuses the key, or ServerError if the endpoint does not answer."""
    check = check_key(endpoint, api_key)
    if check.state == "refused":
        raise AuthError(f"{endpoint} refuses the API key: {check.message}")
    if check.state != "good":
        raise ServerError(f"{endpoint} does not accept the API key: {check.message}")


def check_key(endpoint: str, api_key: str) -> KeyCheck:
    """Request traces of no project.

    The server checks the key first and the project second (measured on 0.5.0). 401 means an invalid key; 422 about the
    project means a valid one. A request that named the project would create it. Without a key, the request has a name
    that no project can have: only a server that needs no key refuses the name itself.
    """
    headers = {"X-API-Key": api_key} if api_key else {"X-Project-Name": _NO_NAME}
    with closing(HttpTransport(endpoint, headers)) as transport:
        verdict = judge(transport.send(Request(method="GET", path="/traces", timeout_s=10.0)))
    if not api_key and (
        verdict.kind is VerdictKind.AUTH or (verdict.kind is VerdictKind.PROJECT and lacks_key(verdict))
    ):
        words = "the endpoint requires an API key, but none is set: set PANDAPROBE_API_KEY"
        return KeyCheck(state="refused", message=f"{words} ({verdict.message})")
    if verdict.kind in _GOOD:
        return KeyCheck(state="good", message=f"the endpoint {'accepts the' if api_key else 'needs no'} key")
    state, words = _BAD.get(verdict.kind, ("unclear", "{0} (is this the base URL of a PandaProbe?)"))
    return KeyCheck(state=state, message=words.format(verdict.message, endpoint))


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundTrip:
    """Result of sending a trace and reading it back."""

    arrived: bool
    message: str
    trace_id: str | None


def round_trip(config: Config) -> RoundTrip:
    """Send one trace (billed; may create the project) and wait until it can be read."""
    from opentelemetry.sdk.trace import TracerProvider

    from pandaprobe_otel.api.client import client_of
    from pandaprobe_otel.mapping.ids import trace_uuid
    from pandaprobe_otel.pipeline.export_pipeline import ExportPipeline
    from pandaprobe_otel.sdk.processor import PandaProbeSpanProcessor

    pipeline = ExportPipeline(config, counts_starts=True)
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(PandaProbeSpanProcessor(pipeline=pipeline))
    message, trace_id, arrived = "", None, False
    try:
        with client_of(config) as client:
            is_new = client.traces.list(limit=1).total == 0
            begun = time.monotonic()
            with provider.get_tracer("pandaprobe_otel").start_as_current_span(
                _NAME, attributes={"gen_ai.operation.name": "invoke_agent"}
            ) as span:
                trace_id = trace_uuid(span.get_span_context().trace_id)
            if pipeline.flush(_TIMEOUT_S) and pipeline.status().traces_delivered:
                client.traces.wait_visible(trace_id, _TIMEOUT_S)
                arrived, message = True, f"trace {trace_id} was there after {time.monotonic() - begun:.2f} s"
                if is_new:  # A misspelt name makes a new project.
                    message += f"; project {config.project_name!r} had no traces before: is this its name?"
            else:
                why = pipeline.status().last_error or "no answer came in time"
                message = f"the trace was not delivered: {why}"
    except PandaProbeError as error:
        message = str(error)
    finally:
        provider.shutdown()
    return RoundTrip(arrived=arrived, message=message, trace_id=trace_id)
