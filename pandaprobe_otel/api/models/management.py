"""Organizations, members, projects, API keys and plans. Amounts of money are unchanged from the server."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from pydantic import Field

from pandaprobe_otel.api.models.base import (
    Model,
    OpenInvitationStatus,
    OpenPlan,
    OpenRole,
    OpenSubscriptionStatus,
    Utc,
)


class UserProfile(Model):
    """The owner of the token."""

    id: UUID
    email: str
    display_name: str
    created_at: Utc
    last_sign_in_at: Utc | None = None


class Organization(Model):
    """An organization."""

    id: UUID
    name: str
    created_at: Utc


class MyOrganization(Organization):
    """An organization and the token owner's role in it."""

    role: OpenRole


class Membership(Model):
    """A member of an organization."""

    id: UUID
    user_id: UUID
    org_id: UUID
    role: OpenRole
    display_name: str
    email: str
    created_at: Utc


class Invitation(Model):
    """An invitation into an organization."""

    id: UUID
    org_id: UUID
    org_name: str
    email: str
    role: OpenRole
    status: OpenInvitationStatus
    invited_by: UUID
    inviter_display_name: str
    inviter_email: str
    created_at: Utc
    expires_at: Utc


class Project(Model):
    """A project."""

    id: UUID
    org_id: UUID
    name: str
    description: str = ""
    created_at: Utc


class ApiKey(Model):
    """An API key. `raw_key` is the key itself: only the answer that creates the key has it, and it is never printed."""

    id: UUID
    org_id: UUID
    key_prefix: str
    name: str
    is_active: bool
    created_at: Utc
    expires_at: Utc | None = None
    raw_key: str | None = Field(default=None, repr=False)


class Plan(Model):
    """A plan that can be subscribed to; None means no limit."""

    name: str
    base_traces: int | None = None
    base_trace_evals: int | None = None
    base_session_evals: int | None = None
    monitoring_allowed: bool
    max_members: int | None = None
    pay_as_you_go: bool
    monthly_price_cents: int
    overage_unit_price: str


class Subscription(Model):
    """An organization's subscription."""

    id: UUID
    org_id: UUID
    plan: OpenPlan
    status: OpenSubscriptionStatus
    current_period_start: Utc
    current_period_end: Utc
    canceled_at: Utc | None = None
    created_at: Utc


class Usage(Model):
    """Usage in the current period, and what the plan includes (`limits`)."""

    plan: OpenPlan
    status: OpenSubscriptionStatus
    period_start: Utc
    period_end: Utc
    traces: int = 0
    trace_evals: int = 0
    session_evals: int = 0
    limits: dict[str, Any] = Field(default_factory=dict)


class CategoryBreakdown(Model):
    """Usage of one category, and its cost beyond the plan."""

    used: int
    included: int | None = None
    overage_units: int
    overage_cost: str


class Billing(Model):
    """The bill of the current period so far."""

    plan: OpenPlan
    period_start: Utc
    period_end: Utc
    base_price_cents: int
    overage_unit_price: str
    traces: CategoryBreakdown
    trace_evals: CategoryBreakdown
    session_evals: CategoryBreakdown
    total_overage_cost: str
    reported_overage_cost: str
    pending_overage_cost: str
    estimated_total_cents: int


class PastUsage(Model):
    """Usage in a past period."""

    period_start: Utc
    period_end: Utc
    trace_count: int
    trace_eval_count: int
    session_eval_count: int
    billed: bool
    stripe_invoice_id: str | None = None
