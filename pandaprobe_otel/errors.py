"""The exceptions of this library.

    PandaProbeError
    ├── ConfigError            a setting is missing or wrong (only raised with strict=True, or by the clients)
    ├── AuthError              401: the API key or token was refused
    │   ├── KeyExpired         401: the API key has expired
    │   └── MissingKey         no API key was given to a client (a ConfigError, too)
    ├── PermissionDenied       403
    ├── NotFound               404
    ├── Conflict               409
    ├── InvalidRequest         400, 422, or refused before it was sent: `errors` says which field
    ├── RateLimited            429 with an `error` body: too many requests in this minute
    ├── QuotaExceeded          429 with a `detail` body, 402: the plan's quota is used up
    ├── ServerError            5xx, or no answer at all
    ├── OutcomeUnknown         a create was sent and no answer came: it may have happened
    ├── WaitTimeout            what was waited for did not come in time (a TimeoutError, too)
    ├── RunFailed              an evaluation run ended as FAILED
    ├── InsufficientEvidence   scores say nothing, since there was nothing to judge; or an expected one is missing
    └── RecordingError         a recording cannot be made, read or written; or it cannot answer what was asked

Exporters, processors, decorators and integrations never raise any of them into the app; an open recording raises the
last one where the app asks a model.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar


@dataclass(frozen=True, slots=True)
class FieldError:
    """One refused field: where it stands in the request and what the server says about it."""

    field: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SentRequest:
    """A request whose outcome is not known: what to look for on the server. `body` is its JSON, read back."""

    method: str
    path: str
    body: Any
    sent_at: datetime
    """When it was sent, in UTC by the local clock."""


class PandaProbeError(Exception):
    """Base of every error of this library.

    `status` is the HTTP status, `detail` the server's own words, `request_id` its `x-request-id`;
    each is None where there was no answer.
    """

    advice: ClassVar[str] = ""

    def __init__(
        self, message: str, *, status: int | None = None, detail: str | None = None, request_id: str | None = None
    ) -> None:
        super().__init__(f"{message} {self.advice}".rstrip())
        self.status = status
        self.detail = detail
        self.request_id = request_id


class ConfigError(PandaProbeError):
    """A setting is missing or cannot be used; the message names it, its source and the remedy."""


class AuthError(PandaProbeError):
    """The API key or bearer token was refused."""

    advice = "Check the key (PANDAPROBE_API_KEY) or token, and that it belongs to this endpoint."


class KeyExpired(AuthError):
    """The API key has expired."""

    advice = "Make a new key and set PANDAPROBE_API_KEY."


class MissingKey(ConfigError, AuthError):
    """No API key was given, or one that is none; nothing was asked."""

    advice = ""


class PermissionDenied(PandaProbeError):
    """The credentials are good, but not for this."""


class NotFound(PandaProbeError):
    """There is no such thing in this project."""


class Conflict(PandaProbeError):
    """The request contradicts the state on the server."""


class InvalidRequest(PandaProbeError):
    """The request was refused; `errors` says which fields and why (empty when the server named none)."""

    def __init__(
        self,
        message: str,
        *,
        errors: tuple[FieldError, ...] = (),
        status: int | None = None,
        detail: str | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message, status=status, detail=detail, request_id=request_id)
        self.errors = errors


class RateLimited(PandaProbeError):
    """Too many requests in this minute; `retry_after` is in seconds, None when the server did not say."""

    def __init__(
        self,
        message: str,
        *,
        retry_after: float | None = None,
        status: int | None = 429,
        detail: str | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message, status=status, detail=detail, request_id=request_id)
        self.retry_after = retry_after


class QuotaExceeded(PandaProbeError):
    """The plan's quota is used up; trying again changes nothing until the next period."""

    advice = "Upgrade the plan, or wait for the next period."


class ServerError(PandaProbeError):
    """The server failed, or could not be reached."""


class OutcomeUnknown(PandaProbeError):
    """The request was sent and no answer came back: it may or may not have happened.

    `client.look_up(error)` returns what it made, if it was carried out; `request` is None where nothing is known.
    """

    advice = "Look before you repeat it: client.look_up(error)."

    def __init__(
        self,
        message: str,
        *,
        request: SentRequest | None = None,
        status: int | None = None,
        detail: str | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message, status=status, detail=detail, request_id=request_id)
        self.request = request


class WaitTimeout(PandaProbeError, TimeoutError):
    """What was waited for did not come in time; it may still come."""


class RunFailed(PandaProbeError):
    """An evaluation run ended as FAILED, or some of what it was to evaluate got no score."""


class InsufficientEvidence(PandaProbeError):
    """Scores were given although there was nothing to judge; or `evaluations.wait` found none for a trace."""


class RecordingError(PandaProbeError):
    """A recording cannot be made, read or written, or cannot answer; the message says what to do."""
