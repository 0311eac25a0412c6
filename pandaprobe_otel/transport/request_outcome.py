"""Requests and their outcomes as values, and the interface of transports."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

LARGEST_BODY: Final = 64 << 20
"""Bound on the bytes of an answer; a longer answer counts as none."""


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
