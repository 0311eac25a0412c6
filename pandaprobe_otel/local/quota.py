"""Plans and their quotas per 30 days (measured on server 0.5.0)."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from starlette.exceptions import HTTPException

from pandaprobe_otel.local.injected_faults import Faults
from pandaprobe_otel.local.store.accounts import DEVELOPMENT, HOBBY, Accounts, Organization

Counter = Literal["traces", "trace_evals", "session_evals"]
PLANS: Final[Mapping[str, Mapping[Counter, int]]] = {
    HOBBY: {"traces": 100, "trace_evals": 100, "session_evals": 10},
    DEVELOPMENT: {},
}
"""Amounts that the plans of a local server include; without an amount, there is no limit, and monitors are allowed."""


@dataclass(frozen=True, slots=True)
class QuotaBook:
    """The quotas of organizations and their usage."""

    accounts: Accounts
    faults: Faults

    def check(self, organization: Organization, counter: Counter, amount: int) -> None:
        """Raise the 429 of a used-up quota if `amount` more would exceed it.

        Its key `detail` distinguishes it from a rate limit.
        """
        is_used_up, plan = self.faults.quota_used_up, HOBBY if self.faults.quota_used_up else organization.plan
        included = PLANS[plan].get(counter)
        if included is None:
            return
        if is_used_up or self.accounts.usage(organization.id)[counter] + amount > included:
            raise HTTPException(
                429,
                f"You've reached the {counter} limit ({included}) for your {plan} plan. Please upgrade to continue.",
            )

    def count(self, connection: sqlite3.Connection, organization: Organization, counter: Counter, amount: int) -> None:
        """Add to the usage, inside the caller's transaction."""
        self.accounts.count(connection, organization.id, counter, amount)

    def check_monitoring(self, organization: Organization) -> None:
        """Raise the 429 of a plan without monitors."""
        plan = HOBBY if self.faults.quota_used_up else organization.plan
        if PLANS[plan]:
            raise HTTPException(429, f"Monitoring is not available on your {plan} plan. Please upgrade.")
