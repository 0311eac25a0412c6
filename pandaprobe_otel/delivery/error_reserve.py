"""Tokens kept for traces with errors, while more traces wait than can be sent in a minute.

Under overload, every token is lent, and a new error would wait up to a minute for one. So other traces leave a few
tokens. They lose that part of the limit while errors come, and nothing otherwise.
"""

from __future__ import annotations

from collections import deque
from typing import Final

FEWEST: Final = 5
MOST: Final = 20
OVERLOAD: Final = 100
"""Number of waiting traces above which sending them takes more than a minute."""

_REMEMBERED_S: Final = 600.0
_ERRORS_PER_TOKEN: Final = 40
"""Errors within ten minutes that reserve one more token, which equals four errors a minute."""


class ErrorReserve:
    """Number of tokens that other traces leave. Times are monotonic, in seconds."""

    def __init__(self) -> None:
        self._errors: deque[float] = deque(maxlen=(MOST - FEWEST) * _ERRORS_PER_TOKEN)

    def error_came(self, now: float) -> None:
        """Note that a trace with an error waits to be sent."""
        self._errors.append(now)

    def tokens(self, waiting: int, now: float) -> int:
        """Return the number of tokens that are reserved for errors while `waiting` traces wait for a token."""
        while self._errors and self._errors[0] < now - _REMEMBERED_S:
            self._errors.popleft()
        if waiting < OVERLOAD or not self._errors:
            return 0
        return FEWEST + len(self._errors) // _ERRORS_PER_TOKEN
