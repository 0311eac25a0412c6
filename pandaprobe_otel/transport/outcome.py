"""Requests and their outcomes as values, what outcomes mean, and the interface of transports.

The meanings are from the measured behaviour of the server (0.5.0). A verdict has the server's message as one short,
printable line, and the wait that it asks for by Retry-After (RFC 9110, section 10.2.3): between one second and ten
minutes, or None. A zero or a past date also gives None, because a server that has just refused a request does not mean
"now", and our own schedule is safer.
"""

from __future__ import annotations

import math
import os
import re
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC
from email.utils import parsedate_to_datetime
from enum import StrEnum
from functools import cache, lru_cache
from importlib.metadata import version
from typing import Any, Final, Protocol, cast

import orjson

from pandaprobe_otel.errors import FieldError

LARGEST_BODY: Final = 64 << 20
"""Bound on the bytes of an answer; a longer answer counts as none."""
SHOWN: Final = "[redacted]"
_SECRET_HEADERS: Final = ("x-api-key", "authorization")
_SHORTEST_SECRET: Final = 6
"""Length in characters; a shorter one would match in any text."""
_REMEMBERED: Final = 4
_KEPT: Final = 128 << 10
"""Bytes kept of an error's body; five hundred refused fields take 75 KB."""


def for_ever() -> float:
    """Return infinity: the request does not depend on a lease."""
    return math.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One HTTP request below the endpoint."""

    method: str
    path: str
    body: bytes | None = None
    timeout_s: float = 30.0
    most_read: int | None = None
    """Bytes of the answer's body that the caller needs; the rest is not read. PandaProbe answers a PATCH with the whole
    trace, which may exceed this process's memory bound. None: the whole body."""
    project: str = ""
    """Project of this request; empty for that of the transport's headers."""
    time_left_s: Callable[[], float] = for_ever
    """Function that returns the seconds for which the request is still allowed. It is called when a connection is
    ready, before anything is written. The exchange takes no longer than that. It does not begin if no time is left: see
    `NoAnswer.is_late`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """HTTP answer. Header names are in lower case."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def is_success(self) -> bool:
        """True for 2xx without a web page, which comes from something in between, such as a hotel's network."""
        return 200 <= self.status < 300 and not self.body[:200].lstrip().startswith(b"<")


@dataclass(frozen=True, slots=True, kw_only=True)
class NoAnswer:
    """Failure without an answer.

    `reason` is for the log; `may_have_arrived` is True if the whole request may have reached the server.
    """

    reason: str
    may_have_arrived: bool
    is_late: bool = False
    """True if nothing was sent because the time allowed for the request was over."""


Outcome = Answer | NoAnswer


class NotSentError(Exception):
    """The request was not sent completely, so the server cannot have acted on it."""


class NotHttpError(Exception):
    """The server sent no valid HTTP answer, or one that is too large."""


def describe(error: BaseException) -> str:
    """Return the reason for a missing answer, with the variable to check if a certificate is the cause."""
    said = f"{type(error).__name__}: {error}".rstrip(": ")
    hint = _about_certificates(error, said)
    return f"{said}; {hint}" if hint else said


def _about_certificates(error: BaseException, said: str) -> str:
    if "CERTIFICATE_VERIFY_FAILED" in said:
        return "SSL_CERT_FILE may name a file with the certificate of your own authority"
    # OpenSSL names neither the missing file nor the one without a certificate.
    file = os.environ.get("SSL_CERT_FILE")
    if file and (isinstance(error, FileNotFoundError) or "NO_CERTIFICATE_OR_CRL_FOUND" in said):
        return f"SSL_CERT_FILE={file}"
    return ""


class Transport(Protocol):
    """Interface for sending requests; never raises."""

    def send(self, request: Request) -> Outcome:
        """Send one request and wait for its answer, at most `request.timeout_s`."""
        ...

    def close(self) -> None:
        """Close the connections."""

    def reset_after_fork(self) -> None:
        """Forget connections that belong to the parent process, without touching them."""


class KeyedTransport(Transport, Protocol):
    """Transport whose headers, and so its key, can change."""

    def use(self, headers: Mapping[str, str]) -> None:
        """Send these headers from now on."""


# -- authentication ---------------------------------------------------------------------------------------------------


PROJECT_HEADER: Final = "X-Project-Name"


def api_key_headers(api_key: str, project_name: str) -> Mapping[str, str]:
    """Return the headers for a project and its API key, if there is one.

    Send no Authorization header with them: the server would use it to count the rate limit (measured on 0.5.0).
    """
    project = {PROJECT_HEADER: project_name, "User-Agent": user_agent()}
    return {"X-API-Key": api_key, **project} if api_key else project


def bearer_headers(
    token: str, *, project_id: str | None = None, organization_id: str | None = None
) -> Mapping[str, str]:
    """Return the headers for a bearer token. Without an organization, the server uses the newest membership."""
    named = {"X-Project-ID": project_id, "X-Organization-ID": organization_id}
    ids = {name: value for name, value in named.items() if value is not None}
    return {"Authorization": f"Bearer {token}", **ids, "User-Agent": user_agent()}


@cache
def user_agent() -> str:
    """Return name and version of this library, for the server's log."""
    return f"pandaprobe-otel/{version('pandaprobe-otel')}"


class Redaction:
    """Redaction of one transport's secrets: the current ones, and earlier ones whose answers may still arrive.

    Logs, `status()`, dead letters and exceptions contain text from servers, which may repeat the key. So each outcome
    except a success passes through this, where the key is known.
    """

    def __init__(self) -> None:
        self._secrets: tuple[str, ...] = ()

    def learn(self, headers: Mapping[str, str]) -> None:
        """Remember the secrets in these headers."""
        for name, value in headers.items():
            secret = value.removeprefix("Bearer ")
            if name.lower() in _SECRET_HEADERS and len(secret) >= _SHORTEST_SECRET and secret not in self._secrets:
                self._secrets = (*self._secrets, secret)[-_REMEMBERED:]

    def applied_to(self, outcome: Outcome) -> Outcome:
        """Return an unsuccessful outcome without secrets; a success is data of the app and stays as it is."""
        if isinstance(outcome, NoAnswer):
            return replace(outcome, reason=self.without(outcome.reason))
        if outcome.is_success:
            return outcome
        return replace(
            outcome,
            body=self.without(outcome.body[:_KEPT].decode("latin-1")).encode("latin-1"),
            headers={name: self.without(value) for name, value in outcome.headers.items()},
        )

    def without(self, text: str) -> str:
        """Return the text without secrets."""
        return _pattern(self._secrets).sub(SHOWN, text) if self._secrets and text else text


@lru_cache(maxsize=8)
def _pattern(secrets: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(form for secret in secrets for form in _forms(secret)), re.IGNORECASE)


def _forms(secret: str) -> Iterator[str]:
    """Yield patterns: the secret with or without the escapes of a URL, and as base64."""
    yield "".join(f"(?:{re.escape(each)}|%{ord(each):02x})" for each in secret)
    for offset in range(3):  # base64 encodes three bytes at a time, so the secret may begin at any of them
        text = b64encode(bytes(offset) + secret.encode()).decode()
        of_it = text[-(-offset * 8 // 6) : (offset + len(secret)) * 8 // 6]
        yield re.escape(of_it).replace(r"\+", r"[+\-]").replace("/", "[/_]")


SHORTEST_S: Final = 1.0
LONGEST_S: Final = 600.0
"""A longer wait is usually a proxy's mistake, and a request every ten minutes does no harm."""
_MOST_CHARACTERS: Final = 64
_READ: Final = 16 << 10
_LINE: Final = 200
_TITLE: Final = re.compile(r"<title[^<>]{0,200}>([^<]*)", re.IGNORECASE)
_UNSEEN: Final = re.compile(r"<(script|style)\b.*?(?:</\1[^>]*>?|\Z)|<[^>]*(?:>|\Z)", re.IGNORECASE | re.DOTALL)

_MOST_READ: Final = 1 << 20
"""Bound on the bytes of an error's body; a longer one is not from PandaProbe."""
_MOST_ERRORS: Final = 600
"""Bound on the refused fields that are read; a request has at most 500 spans."""
_LONGEST: Final = 500
"""Bound on the characters of a message."""


class VerdictKind(StrEnum):
    """Classes of outcomes that need different actions."""

    DELIVERED = "delivered"
    RATE_LIMITED = "rate limited"
    QUOTA = "quota exhausted"
    AUTH = "credentials refused"
    PROJECT = "project refused"
    NOT_FOUND = "not found"
    INVALID = "refused as invalid"
    TOO_LARGE = "too large"
    REDIRECTED = "redirected"
    UNAVAILABLE = "unavailable"
    UNKNOWN = "outcome unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Classified outcome, with the server's message and, if given, the time to wait."""

    kind: VerdictKind
    message: str = ""
    status: int | None = None
    retry_after_s: float | None = None
    errors: tuple[FieldError, ...] = ()


_BY_STATUS = {
    401: VerdictKind.AUTH,
    402: VerdictKind.QUOTA,
    403: VerdictKind.AUTH,
    404: VerdictKind.NOT_FOUND,
    405: VerdictKind.AUTH,  # the URL is not PandaProbe's
    407: VerdictKind.UNAVAILABLE,  # a proxy in between requires credentials
    413: VerdictKind.TOO_LARGE,
    425: VerdictKind.UNAVAILABLE,
    # Some proxies write a 408 into an idle connection, where it meets a request that may be carried out. One that has
    # lost its upstream cannot know.
    408: VerdictKind.UNKNOWN,
    502: VerdictKind.UNKNOWN,
    504: VerdictKind.UNKNOWN,
}


def judge(outcome: Outcome) -> Verdict:
    """Classify an outcome."""
    if isinstance(outcome, NoAnswer):
        kind = VerdictKind.UNKNOWN if outcome.may_have_arrived else VerdictKind.UNAVAILABLE
        return Verdict(kind=kind, message=_one_line(outcome.reason, most=_LONGEST))
    if outcome.is_success:  # not parsed, because the body may be a whole trace
        return _delivered(outcome.status)
    if outcome.status < 300:
        message = f"{outcome.status} {_start_of(outcome.body)}"
        return Verdict(kind=VerdictKind.UNKNOWN, message=message, status=outcome.status)
    body = json_object(outcome.body) if len(outcome.body) <= _MOST_READ else {}
    errors = _field_errors(body)
    return Verdict(
        kind=_kind(outcome.status, body, errors),
        message=_message(outcome.status, outcome.body, body, errors),
        status=outcome.status,
        retry_after_s=_retry_after(outcome.headers.get("retry-after"), outcome.headers.get("date")),
        errors=errors,
    )


@cache  # each trace gets this verdict
def _delivered(status: int) -> Verdict:
    return Verdict(kind=VerdictKind.DELIVERED, message=str(status), status=status)


def lacks_key(verdict: Verdict) -> bool:
    """Return whether a request that named a project was refused because it had no key (measured on 0.5.0).

    A server without sign-in answers with 422 about the project: the name of a project counts only beside a key.
    """
    words = verdict.message.lower()
    return (verdict.status == 401 and "missing credentials" in words) or (
        verdict.status == 422 and "project scope required" in words
    )


def _kind(status: int, body: dict[str, Any], errors: tuple[FieldError, ...]) -> VerdictKind:
    if 300 <= status < 400:
        return VerdictKind.REDIRECTED
    if status == 429:
        # The body makes the difference: `error` means the rate limit, `detail` the plan's quota. An unknown body (a
        # proxy's) counts as a rate limit, which ends by itself.
        return VerdictKind.QUOTA if "detail" in body and "error" not in body else VerdictKind.RATE_LIMITED
    detail: object = body.get("detail")
    if status == 422 and not errors and isinstance(detail, str) and "project" in detail.lower():
        return VerdictKind.PROJECT
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    return VerdictKind.INVALID if status < 500 else VerdictKind.UNAVAILABLE


def _field_errors(body: dict[str, Any]) -> tuple[FieldError, ...]:
    rows: list[Any] | None = body.get("errors")
    if not isinstance(rows, list):
        return ()
    found = (cast("dict[str, Any]", row) for row in rows[:_MOST_ERRORS] if isinstance(row, dict))
    return tuple(FieldError(field=_text(row.get("field")), message=_text(row.get("message"))) for row in found)


def _text(value: object) -> str:
    return _one_line(value, most=_LONGEST) if isinstance(value, str) else ""


def _message(status: int, raw: bytes, body: dict[str, Any], errors: tuple[FieldError, ...]) -> str:
    if errors:
        text = "; ".join(f"{error.field}: {error.message}" for error in errors[:5])
    else:
        said: object = body.get("error") or body.get("detail")
        text = said if isinstance(said, str) else _start_of(raw)
    return _one_line(f"{status} {text.removeprefix(str(status))}", most=_LONGEST)


# -- text from servers -------------------------------------------------------------------------------------------------


def json_object(body: bytes) -> dict[str, Any]:
    """Return the JSON object of a body; an empty one if it is anything else."""
    try:
        value: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _start_of(body: bytes) -> str:
    """Return the title or the first words of a web page, or the start of any other text."""
    text = body[:_READ].decode("utf-8", "replace")
    if text.lstrip().startswith("<"):
        title = _TITLE.search(text)
        text = title.group(1) if title and title.group(1).strip() else _UNSEEN.sub(" ", text)
    return _one_line(text)


def _one_line(text: str, *, most: int = _LINE) -> str:
    """Return the text as one line of at most `most` characters, with unprintable characters marked.

    They are not removed, because that might join the pieces of a secret.
    """
    line = " ".join(text[: most * 4].split())[:most]
    return "".join(character if character.isprintable() else "�" for character in line)


# -- the wait that a server asks for -----------------------------------------------------------------------------------


def _retry_after(value: str | None, date: str | None = None) -> float | None:
    """Return the seconds to wait, between `SHORTEST_S` and `LONGEST_S`; None if absent, invalid or too short.

    An HTTP date is compared with the answer's own `Date` header, so that a wrong local clock does not matter.
    """
    seconds = _number_in(value)
    if seconds is None:
        until, now = _time_in(value), _time_in(date)
        seconds = until - now if until is not None and now is not None else 0.0
    return min(seconds, LONGEST_S) if seconds >= SHORTEST_S else None


def _number_in(value: str | None) -> float | None:
    try:
        number = float((value or "")[:_MOST_CHARACTERS])
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _time_in(value: str | None) -> float | None:
    """Return an HTTP date in seconds since the epoch, or None."""
    try:
        time = parsedate_to_datetime((value or "")[:_MOST_CHARACTERS])
        return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
    except (ArithmeticError, LookupError, TypeError, ValueError):  # a bad year or zone, or not a date at all
        return None
