"""Why a request is not taken, in the words of OTLP over HTTP and over gRPC."""

from __future__ import annotations

from typing import Final

INVALID_ARGUMENT: Final = 3
DEADLINE_EXCEEDED: Final = 4
RESOURCE_EXHAUSTED: Final = 8
UNAUTHENTICATED: Final = 16
"""Codes of google.rpc.Code, which the bodies of both protocols carry."""


class RefusedError(Exception):
    """The request is not taken; the text tells the sender why.

    http_status: 400, 401, 404, 408, 413, 415 or 503. code: of google.rpc.Code. retry_after_s: when to send it again;
    None when that would be in vain (OTLP specification 1.5, "Failures" and "OTLP/HTTP Throttling").
    """

    def __init__(
        self, message: str, *, http_status: int, code: int = INVALID_ARGUMENT, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message)
        self.http_status = http_status
        self.code = code
        self.retry_after_s = retry_after_s


class TooLargeError(RefusedError):
    """The body has more bytes than it may."""

    def __init__(self, max_bytes: int) -> None:
        super().__init__(
            f"the body is larger than {max_bytes} bytes; send smaller batches, or start the gateway with a larger "
            "--max-body.",
            http_status=413,
        )


class OverBoundError(Exception):
    """There is more in something than may be."""


def busy(message: str, retry_after_s: float) -> RefusedError:
    """The sender is to wait and to send the same again."""
    return RefusedError(message, http_status=503, code=RESOURCE_EXHAUSTED, retry_after_s=retry_after_s)


def unreadable(message: str) -> RefusedError:
    """The body is not what it should be."""
    return RefusedError(message, http_status=400)


def too_many(what: str) -> RefusedError:
    """The body is small enough, but holds more than is made of one."""
    return RefusedError(f"the body holds {what}; send smaller batches", http_status=413)


def too_slow(message: str) -> RefusedError:
    """The body did not come in time."""
    return RefusedError(message, http_status=408, code=DEADLINE_EXCEEDED)
