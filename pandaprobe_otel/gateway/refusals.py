"""Bounds of a request, and the reasons for refusing it, or single spans of it, in the terms of OTLP.

Larger requests are refused before objects are built from them, or soon after. Spans that are rejected while others of
the request are accepted are OTLP's partial success.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Final, NamedTuple

MOST_FRAMES: Final = 100_000
"""Spans, scopes and resources of a request. A Collector sends 8,192 spans by default."""
MOST_ITEMS: Final = 4096
"""Attributes of a span. `init()` has the same limit. Each event and each link has this limit too."""
MOST_FIELDS: Final = 200_000
"""Fields of a span, including those in its values. An attribute has three, and an element of a list two."""
MOST_IN_REQUEST: Final = 1_000_000
"""Attributes and elements of lists and maps in a request. Each event or link counts as four more. Reading this number
takes about a second of CPU.
"""
JSON_VALUES: Final = 250_000
JSON_BYTES_A_VALUE: Final = 6
"""A request may have JSON_VALUES values in JSON, and one more for each JSON_BYTES_A_VALUE bytes. Spans with many short
attributes have one for each eight bytes.
"""


@dataclass(slots=True)
class Allowance:
    """The unused part of a request's bound."""

    left: int = MOST_IN_REQUEST

    @property
    def is_used_up(self) -> bool:
        """True once the request has exceeded its bound."""
        return self.left < 0


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


def busy(message: str, retry_after_s: float) -> RefusedError:
    """Return the error that asks the sender to wait and then send the same request again."""
    return RefusedError(message, http_status=503, code=RESOURCE_EXHAUSTED, retry_after_s=retry_after_s)


def unreadable(message: str) -> RefusedError:
    """Return the error for a malformed body."""
    return RefusedError(message, http_status=400)


def too_many(what: str) -> RefusedError:
    """Return the error for a body that is small, but would become too many objects."""
    return RefusedError(f"the body has {what}; send smaller batches", http_status=413)


class Rejected(NamedTuple):
    """A rejected span: the reason, and the library's own message."""

    reason: str
    detail: str = ""


UNREADABLE: Final = "cannot be read"
NO_IDS: Final = Rejected("have no valid trace id or span id")
TOO_MANY_ITEMS: Final = Rejected(f"have more than {MOST_ITEMS} attributes, events or links")
TOO_MANY_FIELDS: Final = Rejected(f"have more than {MOST_FIELDS} fields, including those in their values")
BEYOND: Final = Rejected(
    f"exceed {MOST_IN_REQUEST} attributes, events and elements in one request; send smaller batches"
)


class Rejections:
    """Counts of rejected spans. `message` is for the sender."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._details: dict[str, str] = {}

    def add(self, rejected: Rejected) -> None:
        """Count a rejected span."""
        self._counts[rejected.reason] += 1
        if rejected.detail:
            self._details.setdefault(rejected.reason, f" (the first: {rejected.detail[:300]})")

    @property
    def count(self) -> int:
        """The number of all rejected spans."""
        return self._counts.total()

    @property
    def message(self) -> str:
        """The numbers by reason, in words; empty if there are none."""
        return "; ".join(
            f"{count} spans {reason}{self._details.get(reason, '')}" for reason, count in self._counts.items()
        )
