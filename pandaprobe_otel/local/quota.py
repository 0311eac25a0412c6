"""Plans and their quotas per 30 days (measured on server 0.5.0)."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from starlette.exceptions import HTTPException

from pandaprobe_otel.local.errors import quota_error
from pandaprobe_otel.local.injected_faults import Faults
from pandaprobe_otel.local.store.accounts import Accounts, Organization

Counter = Literal["traces", "trace_evals", "session_evals"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A plan. None means unlimited."""

    name: str
    traces: int | None
    trace_evals: int | None
    session_evals: int | None
    monitoring: bool

    def included(self, counter: Counter) -> int | None:
        """Return the amount of a counter that the plan includes."""
        return {"traces": self.traces, "trace_evals": self.trace_evals, "session_evals": self.session_evals}[counter]

    @property
    def limits(self) -> dict[str, int | bool | None]:
        """The plan in the form of the usage route."""
        return {
            "base_traces": self.traces,
            "base_trace_evals": self.trace_evals,
            "base_session_evals": self.session_evals,
            "monitoring_allowed": self.monitoring,
            "max_members": 1,
            "pay_as_you_go": False,
        }


_HOBBY: Final = Plan(name="HOBBY", traces=100, trace_evals=100, session_evals=10, monitoring=False)
_DEVELOPMENT: Final = Plan(name="DEVELOPMENT", traces=None, trace_evals=None, session_evals=None, monitoring=True)
PLANS: Final[Mapping[str, Plan]] = {plan.name: plan for plan in (_HOBBY, _DEVELOPMENT)}
"""Plans of the organizations of a local server."""


class QuotaBook:
    """The quotas of organizations and their usage."""

    def __init__(self, accounts: Accounts, faults: Faults) -> None:
        self._accounts = accounts
        self._faults = faults

    def check(self, organization: Organization, counter: Counter, amount: int) -> None:
        """Raise the 429 of a used-up quota if `amount` more would exceed it."""
        if self._faults.quota_used_up:
            raise quota_error(counter, _HOBBY.included(counter) or 0, _HOBBY.name)
        self._accounts.roll_period(organization)
        included = PLANS[organization.plan].included(counter)
        if included is not None and getattr(organization, counter) + amount > included:
            raise quota_error(counter, included, organization.plan)

    def count(self, connection: sqlite3.Connection, organization: Organization, counter: Counter, amount: int) -> None:
        """Add to the usage, inside the caller's transaction."""
        self._accounts.count(connection, organization.id, counter, amount)

    def check_monitoring(self, organization: Organization) -> None:
        """Raise the 429 of a plan without monitors."""
        plan = _HOBBY if self._faults.quota_used_up else PLANS[organization.plan]
        if not plan.monitoring:
            raise HTTPException(429, f"Monitoring is not available on your {plan.name} plan. Please upgrade.")
