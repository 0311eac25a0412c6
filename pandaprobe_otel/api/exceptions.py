"""Exceptions for refusals and failures, each with the server's words and advice."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, cast

from pandaprobe_otel.api.endpoint import Endpoint, Repeat
from pandaprobe_otel.errors import (
    AuthError,
    ConfigError,
    Conflict,
    InvalidRequest,
    KeyExpired,
    NotFound,
    OutcomeUnknown,
    PandaProbeError,
    PermissionDenied,
    QuotaExceeded,
    RateLimited,
    SentRequest,
    ServerError,
)
from pandaprobe_otel.transport.outcome import Answer, Outcome, Request, Verdict, VerdictKind, lacks_key

# The SQL of these routes reads the token counts of every trace of the project (measured on server 0.5.0).
_BROKEN_BY_TOKEN_COUNTS: Final = frozenset({"/traces", "/sessions", "/sessions/{session_id}", "/traces/analytics"})

_NO_KEY: Final = " No API key is set: pass api_key, or set PANDAPROBE_API_KEY."


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A request whose outcome is not a success."""

    endpoint: Endpoint[Any]
    base_url: str
    request: Request
    sent_at: datetime
    outcome: Outcome
    verdict: Verdict
    has_key: bool

    @property
    def may_have_happened(self) -> bool:
        """True if the request must not be repeated and may have been executed."""
        return self.endpoint.repeat is Repeat.NEVER and self.verdict.kind is VerdictKind.UNKNOWN


def error_of(failure: Failure) -> PandaProbeError:
    """Return the exception for a failure."""
    verdict = failure.verdict
    facts: dict[str, Any] = {"status": verdict.status, "detail": _detail(failure), "request_id": _request_id(failure)}
    if failure.may_have_happened:
        return OutcomeUnknown(_unknown(failure), request=sent(failure.request, failure.sent_at), **facts)
    said = f"{failure.endpoint}: {verdict.message.rstrip('.')}."
    match verdict.kind:
        case VerdictKind.AUTH:
            return _auth(failure, said, facts)
        case VerdictKind.PROJECT if lacks_key(verdict) and not failure.has_key:
            return AuthError(said + _NO_KEY, **facts)
        case VerdictKind.NOT_FOUND:
            return NotFound(said + _hint_not_found(facts["detail"]), **facts)
        case VerdictKind.PROJECT:
            advice = " Check project_name (PANDAPROBE_PROJECT_NAME), or project_id with a bearer token."
            return InvalidRequest(said + advice, errors=verdict.errors, **facts)
        case VerdictKind.RATE_LIMITED:
            return RateLimited(said + " Too many requests in this minute.", retry_after=verdict.retry_after_s, **facts)
        case VerdictKind.QUOTA if _is_of_plan(verdict):
            return PermissionDenied(said, **facts)
        case VerdictKind.QUOTA:
            return QuotaExceeded(said, **facts)
        case VerdictKind.REDIRECTED:
            return ConfigError(said + _redirected(failure), **facts)
        case VerdictKind.INVALID | VerdictKind.TOO_LARGE:
            kind = Conflict if verdict.status == 409 else None
            return kind(said, **facts) if kind else InvalidRequest(said, errors=verdict.errors, **facts)
        case _:
            return ServerError(_server_failed(failure), **facts)


def _is_of_plan(verdict: Verdict) -> bool:
    """Return whether the plan does not include this at all: a new period does not help, unlike with a used-up quota."""
    return verdict.status == 429 and any(
        words in verdict.message for words in (" plan allows up to ", " not available ")
    )


def _auth(failure: Failure, said: str, facts: dict[str, Any]) -> PandaProbeError:
    if failure.verdict.status == 403:
        return PermissionDenied(said, **facts)
    if failure.verdict.status == 405:
        return InvalidRequest(f"{said} Is the endpoint the base URL of a PandaProbe?", **facts)
    if "expired" in failure.verdict.message.lower():
        return KeyExpired(said, **facts)
    if lacks_key(failure.verdict):
        said += _NO_KEY
    return AuthError(said, **facts)


def _hint_not_found(detail: str | None) -> str:
    # The server's answer for an unknown route. If another object is missing, the answer names it.
    return " There is no such route: is the endpoint the base URL of a PandaProbe?" if detail == "Not Found" else ""


def _redirected(failure: Failure) -> str:
    location = failure.outcome.headers.get("location", "") if isinstance(failure.outcome, Answer) else ""
    return (
        f" The endpoint {failure.base_url} redirects to {location[:200] or 'nowhere'}, and keys are not sent there:"
        " set PANDAPROBE_ENDPOINT to the final URL."
    )


def _server_failed(failure: Failure) -> str:
    verdict = failure.verdict
    if verdict.status is None:
        return f"{failure.endpoint}: no answer from {failure.base_url} ({verdict.message})."
    return f"{failure.endpoint}: the server failed ({verdict.message}).{_hint_failed(failure)}"


def _hint_failed(failure: Failure) -> str:
    if failure.verdict.status != 500 or failure.endpoint.path not in _BROKEN_BY_TOKEN_COUNTS:
        return ""
    return (
        " If this continues, a trace of this project may have token counts that are not integers, which breaks its"
        " lists (server 0.5.0) until that trace is deleted."
    )


def _unknown(failure: Failure) -> str:
    return (
        f"{failure.endpoint} was sent, but no answer came from {failure.base_url} ({failure.verdict.message}):"
        " it may or may not have been carried out, and is not sent again."
    )


def sent(request: Request, sent_at: datetime) -> SentRequest:
    """Return a request in the form that `look_up` needs."""
    body = json.loads(request.body) if request.body else None
    return SentRequest(method=request.method, path=request.path, body=body, sent_at=sent_at)


def _detail(failure: Failure) -> str | None:
    if not isinstance(failure.outcome, Answer):
        return None
    try:
        body: Any = json.loads(failure.outcome.body)
    except (ValueError, RecursionError):
        return failure.outcome.body[:500].decode("utf-8", "replace") or None
    if not isinstance(body, dict):
        return None
    words = cast("dict[str, Any]", body)
    said = words.get("detail", words.get("error"))
    return None if said is None else str(said)


def _request_id(failure: Failure) -> str | None:
    return failure.outcome.headers.get("x-request-id") if isinstance(failure.outcome, Answer) else None
