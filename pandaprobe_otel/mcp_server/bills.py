"""Bills: the cost of a run before it starts, with a code that starts exactly this run once."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from pandaprobe_otel.mcp_server.refusals import Refused

GOOD_FOR_S: Final = 600.0
_MOST: Final = 100
"""Maximum number of stored bills; the oldest are dropped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """Target and metrics of a run, and the maximum number of judgements."""

    target: str
    metrics: Sequence[str]
    count: int


@dataclass(slots=True)
class Bills:
    """Issued bills, and the remaining judgements or model calls of `limit`. Thread-safe."""

    limit: int
    clock: Callable[[], float] = time.monotonic
    new_code: Callable[[], str] = lambda: secrets.token_hex(3)
    _told: dict[str, tuple[float, Bill]] = field(default_factory=dict[str, tuple[float, Bill]])
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def tell(self, bill: Bill) -> str:
        """Return the code of a bill. Raises Refused if its count exceeds the remaining `limit`."""
        with self._lock:
            self._check(bill)
            while len(self._told) >= _MOST:
                del self._told[next(iter(self._told))]
            code = self.new_code()
            self._told[code] = (self.clock() + GOOD_FOR_S, bill)
            return code

    def count_of(self, code: str) -> int | None:
        """Return the count of a bill; None for an invalid code."""
        with self._lock:
            _, bill = self._told.get(code, (0.0, None))
            return None if bill is None else bill.count

    def spend(self, count: int) -> bool:
        """Subtract a count from `limit` without a bill; return False, and subtract nothing, if too few are left."""
        with self._lock:
            if count > self.limit:
                return False
            self.limit -= count
            return True

    def give_back(self, count: int) -> None:
        """Add an unused count to `limit` again; a negative count subtracts further use."""
        with self._lock:
            self.limit = max(self.limit + count, 0)

    def take(self, code: str, bill: Bill) -> None:
        """Use up a code for the run of its bill. Raises Refused for any other run and for an expired code."""
        with self._lock:
            until, told = self._told.pop(code, (0.0, None))
            if told is None:
                raise Refused(
                    "refused", "this code was used already or never issued", "ask for the bill again, without `confirm`"
                )
            if self.clock() > until:
                raise Refused(
                    "refused", "this code is over ten minutes old", "ask for the bill again, without `confirm`"
                )
            if told != bill:
                raise Refused(
                    "refused",
                    "this code is for other targets, metrics or counts",
                    "ask for the bill again, without `confirm`",
                )
            self._check(bill)
            self.limit -= bill.count

    def _check(self, bill: Bill) -> None:
        if bill.count > self.limit:
            raise Refused(
                "refused",
                f"{bill.count} judgements would be billed, but only {self.limit} are left",
                "choose fewer targets or metrics; the person can raise the limit with --max-evaluations",
            )
