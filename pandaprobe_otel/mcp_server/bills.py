"""Bills: the cost of an evaluation before it runs, with a code that runs exactly this evaluation once."""

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
"""Most stored bills; the oldest are dropped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """Targets and metrics of an evaluation, and the number of judgements."""

    target: str
    metrics: Sequence[str]
    judgements: int


@dataclass(slots=True)
class Bills:
    """Issued bills, and the remaining judgements of `limit`. Thread-safe."""

    limit: int
    clock: Callable[[], float] = time.monotonic
    new_code: Callable[[], str] = lambda: secrets.token_hex(3)
    _told: dict[str, tuple[float, Bill]] = field(default_factory=dict[str, tuple[float, Bill]])
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def tell(self, bill: Bill) -> str:
        """Return the code of a bill. Raises Refused if it exceeds the remaining judgements."""
        with self._lock:
            self._check(bill)
            while len(self._told) >= _MOST:
                del self._told[next(iter(self._told))]
            code = self.new_code()
            self._told[code] = (self.clock() + GOOD_FOR_S, bill)
            return code

    def judgements_of(self, code: str) -> int | None:
        """Return the judgements of a bill; None for an invalid code."""
        with self._lock:
            _, bill = self._told.get(code, (0.0, None))
            return None if bill is None else bill.judgements

    def take(self, code: str, bill: Bill) -> None:
        """Use up a code, for the evaluation it was issued for. Raises Refused for any other and for an expired one."""
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
            self.limit -= bill.judgements

    def _check(self, bill: Bill) -> None:
        if bill.judgements > self.limit:
            raise Refused(
                "refused",
                f"{bill.judgements} judgements would be billed, but only {self.limit} are left",
                "choose fewer targets or metrics; the person can raise the limit with --max-evaluations",
            )
