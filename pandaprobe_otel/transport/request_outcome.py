"""Requests and their outcomes as values, the headers that authenticate them, and the interface of transports."""

from __future__ import annotations

import math
import os
import re
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, lru_cache
from importlib.metadata import version
from typing import Final, Protocol

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
    is_first: bool = True
    """False if its connection had carried another request. Then a server that ends idle connections with an answer may
    have written this one before it read the request (RFC 9110, 15.5.9)."""

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


def api_key_headers(api_key: str, project_name: str) -> Mapping[str, str]:
    """Return the headers for a project and its API key, if there is one.

    Send no Authorization header with them: the server would use it to count the rate limit (measured on 0.5.0).
    """
    project = {"X-Project-Name": project_name, "User-Agent": user_agent()}
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
