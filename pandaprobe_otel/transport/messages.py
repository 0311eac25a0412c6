"""What goes out and what comes back, as values: the seam behind which the network lies."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

LARGEST_BODY: Final = 64 << 20
"""Bytes of an answer; one that is longer is none."""


def _for_ever() -> float:
    return math.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One HTTP request below the endpoint."""

    method: str
    path: str
    body: bytes | None = None
    timeout_s: float = 30.0
    most_read: int | None = None
    """Bytes of the answer's body that the caller has a use for: the rest is cut off and not waited for. PandaProbe
    answers a PATCH with the whole trace, which may be larger than all that this process may hold. None: all of it."""
    time_left_s: Callable[[], float] = _for_ever
    """Asked when there is a connection, right before anything is written: for how many seconds what allows this
    request does so. The exchange takes no longer, and does not begin when none are left: see `NoAnswer.is_late`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An HTTP answer. Header names are in lower case."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True, kw_only=True)
class NoAnswer:
    """No answer came: `reason` for the log, and whether the whole request may have reached the server."""

    reason: str
    may_have_arrived: bool
    is_late: bool = False
    """Nothing was sent, since what allowed the request was over by then."""


Outcome = Answer | NoAnswer


class Transport(Protocol):
    """Whatever can carry a request; never raises."""

    def send(self, request: Request) -> Outcome:
        """Send one request and wait for its answer, `request.timeout_s` at the most."""
        ...

    def close(self) -> None:
        """Close the connections."""
        ...

    def reset_after_fork(self) -> None:
        """Forget connections that belong to the parent process, without touching them."""
        ...


class KeyedTransport(Transport, Protocol):
    """One whose headers, and so its key, can change."""

    def use(self, headers: Mapping[str, str]) -> None:
        """Send these headers from now on."""
        ...
