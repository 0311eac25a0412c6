"""Tokens kept for traces with errors while more traces wait than a minute can send.

Under overload every token is out, and a new error would wait up to a minute for one. Other traces then
leave a few tokens. They lose that part of the limit, and nothing when there are no errors.
"""

from __future__ import annotations

from collections import deque
from typing import Final

FEWEST: Final = 5
MOST: Final = 20
OVERLOAD: Final = 100
"""Number of traces waiting for a token, above which the backlog takes more than a minute."""

_REMEMBERED_S: Final = 600.0
_ERRORS_PER_TOKEN: Final = 40
"""One more token for each four errors a minute, since they do not come evenly."""


class ErrorReserve:
    """The number of tokens that other traces leave. Times are monotonic, in seconds."""

    def __init__(self) -> None:
        self._errors: deque[float] = deque(maxlen=(MOST - FEWEST) * _ERRORS_PER_TOKEN)

    def error_came(self, now: float) -> None:
        """Note that a trace with an error waits to be sent."""
        self._errors.append(now)

    def tokens(self, waiting: int, now: float) -> int:
        """Return the tokens that a trace without an error may not take while `waiting` traces want one."""
        while self._errors and self._errors[0] < now - _REMEMBERED_S:
            self._errors.popleft()
        if waiting < OVERLOAD or not self._errors:
            return 0
        return FEWEST + len(self._errors) // _ERRORS_PER_TOKEN
