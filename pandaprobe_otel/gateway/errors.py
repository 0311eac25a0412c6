"""Reasons for refusing a request, in the terms of OTLP over HTTP and over gRPC."""

from __future__ import annotations

from typing import Final

INVALID_ARGUMENT: Final = 3
DEADLINE_EXCEEDED: Final = 4
RESOURCE_EXHAUSTED: Final = 8
UNAUTHENTICATED: Final = 16
"""Codes of google.rpc.Code, which the bodies of both protocols contain."""


class RefusedError(Exception):
    """The request is refused. The text gives the sender the reason.

    http_status: 400, 401, 404, 408, 413, 415 or 503.
    code: a code of google.rpc.Code.
    retry_after_s: seconds until the sender may try again. None if a retry would be pointless (OTLP specification 1.5,
    "Failures" and "OTLP/HTTP Throttling").
    """

    def __init__(
        self, message: str, *, http_status: int, code: int = INVALID_ARGUMENT, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message)
        self.http_status = http_status
        self.code = code
        self.retry_after_s = retry_after_s


class TooLargeError(RefusedError):
    """The body has more bytes than allowed."""

    def __init__(self, max_bytes: int) -> None:
        super().__init__(
            f"the body is larger than {max_bytes} bytes; send smaller batches, or start the gateway with a larger "
            "--max-body.",
            http_status=413,
        )


class OverBoundError(Exception):
    """A message has more fields than allowed."""


def busy(message: str, retry_after_s: float) -> RefusedError:
    """Return the error that asks the sender to wait and then send the same request again."""
    return RefusedError(message, http_status=503, code=RESOURCE_EXHAUSTED, retry_after_s=retry_after_s)


def unreadable(message: str) -> RefusedError:
    """Return the error for a malformed body."""
    return RefusedError(message, http_status=400)


def too_many(what: str) -> RefusedError:
    """Return the error for a body that is small, but would become too many objects."""
    return RefusedError(f"the body has {what}; send smaller batches", http_status=413)


def too_slow(message: str) -> RefusedError:
    """Return the error for a body that did not arrive in time."""
    return RefusedError(message, http_status=408, code=DEADLINE_EXCEEDED)
