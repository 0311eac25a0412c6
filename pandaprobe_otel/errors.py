"""Exceptions of this library.

    PandaProbeError
    ├── ConfigError            a setting is missing or wrong (raised only with strict=True, or by the clients)
    ├── AuthError              401: the API key or token was refused
    │   ├── KeyExpired         401: the API key has expired
    │   └── MissingKey         no API key was given to a client (also a ConfigError)
    ├── PermissionDenied       403
    ├── NotFound               404
    ├── Conflict               409
    ├── InvalidRequest         400, 422, or refused before it was sent: `errors` says which field
    ├── RateLimited            429 with an `error` body: too many requests in this minute
    ├── QuotaExceeded          429 with a `detail` body, 402: the plan's quota is used up
    ├── ServerError            5xx, or no answer at all
    ├── OutcomeUnknown         a create was sent and no answer came: it may have happened
    ├── WaitTimeout            the awaited result did not come in time (also a TimeoutError)
    ├── RunFailed              an evaluation run ended as FAILED
    ├── BudgetExceeded         a model call was refused by `pandaprobe_otel.budgets`
    ├── InsufficientEvidence   scores are meaningless because there was nothing to judge, or one is missing
    └── RecordingError         a recording cannot be made, read or written; or it cannot answer what was asked

Exporters, processors, decorators and integrations never raise any of these into the app, but for two: in the app's
model call, a budget raises BudgetExceeded, and an open recording RecordingError.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar


@dataclass(frozen=True, slots=True)
class FieldError:
    """One refused field: its place in the request, and the server's message about it."""

    field: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SentRequest:
    """Request whose outcome is unknown, described so that it can be looked up. `body` is its decoded JSON."""

    method: str
    path: str
    body: Any
    sent_at: datetime
    """Time of sending, in UTC by the local clock."""


class PandaProbeError(Exception):
    """Base of every error of this library.

    `status` is the HTTP status, `detail` the server's message and `request_id` its `x-request-id`.
    Each is None if no answer came.
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
    """A setting is missing or unusable; the message names the setting, its source and the remedy."""


class AuthError(PandaProbeError):
    """The API key or bearer token was refused."""

    advice = "Check the key (PANDAPROBE_API_KEY) or token, and that it belongs to this endpoint."


class KeyExpired(AuthError):
    """The API key has expired."""

    advice = "Make a new key and set PANDAPROBE_API_KEY."


class MissingKey(ConfigError, AuthError):
    """No API key was given, or the text is not a key; no request was sent."""

    advice = ""


class PermissionDenied(PandaProbeError):
    """The credentials are valid, but they, or the plan, do not allow this request."""


class NotFound(PandaProbeError):
    """The requested object does not exist in this project."""


class Conflict(PandaProbeError):
    """The request contradicts the state on the server."""


class InvalidRequest(PandaProbeError):
    """The request was refused; `errors` names the fields and reasons (empty if the server named none)."""

    def __init__(self, message: str, *, errors: tuple[FieldError, ...] = (), **answer: Any) -> None:
        super().__init__(message, **answer)
        self.errors = errors


class RateLimited(PandaProbeError):
    """Too many requests were sent in this minute; `retry_after` is in seconds, or None if the server gave no time."""

    def __init__(
        self, message: str, *, retry_after: float | None = None, status: int | None = 429, **answer: Any
    ) -> None:
        super().__init__(message, status=status, **answer)
        self.retry_after = retry_after


class QuotaExceeded(PandaProbeError):
    """The plan's quota is used up; retrying does not help before the next period."""

    advice = "Upgrade the plan, or wait for the next period."


class ServerError(PandaProbeError):
    """The server failed or could not be reached."""


class OutcomeUnknown(PandaProbeError):
    """The request was sent, but no answer came: the server may or may not have carried it out.

    If it did, `client.look_up(error)` returns the created object. `request` is None if nothing is known about it.
    """

    advice = "Check before you repeat it: client.look_up(error)."

    def __init__(self, message: str, *, request: SentRequest | None = None, **answer: Any) -> None:
        super().__init__(message, **answer)
        self.request = request


class WaitTimeout(PandaProbeError, TimeoutError):
    """The awaited result did not come in time; it may still come."""


class RunFailed(PandaProbeError):
    """An evaluation run ended as FAILED, or left some of its items without a score."""


class InsufficientEvidence(PandaProbeError):
    """Scores were given although there was nothing to judge, or `evaluations.wait` found no score for a trace."""


class RecordingError(PandaProbeError):
    """A recording cannot be made, read or written, or cannot answer; the message names the remedy."""
