"""Plans, usage and billing, as far as a local server has them."""

from __future__ import annotations

from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, Query
from starlette.responses import Response

from pandaprobe_otel.local.auth import Developer
from pandaprobe_otel.local.quota import OVERAGE_UNIT_PRICE, PLANS, PLANS_FOR_SALE, Counter
from pandaprobe_otel.local.routes.organizations import organization_of
from pandaprobe_otel.local.routing import ApiRoute, answer
from pandaprobe_otel.local.store.accounts import Organization
from pandaprobe_otel.local.times import iso

router = APIRouter(route_class=ApiRoute, tags=["subscriptions"])

_OF_ORGANIZATION: Final = "/organizations/{org_id}/subscriptions"
_NOTHING: Final = "0.000"
_COUNTERS: tuple[Counter, ...] = ("traces", "trace_evals", "session_evals")


@router.get("/subscriptions/plans", response_model=list[dict[str, Any]])
def get_plans(_services: Developer) -> Response:
    """Return PandaProbe's price list."""
    return answer(
        [
            {
                "name": plan.name,
                **plan.limits,
                "monthly_price_cents": plan.monthly_price_cents,
                "overage_unit_price": OVERAGE_UNIT_PRICE,
            }
            for plan in PLANS_FOR_SALE
        ]
    )


@router.get(_OF_ORGANIZATION, response_model=dict[str, Any])
def get_subscription(services: Developer, org_id: UUID) -> Response:
    """Return the plan."""
    organization = organization_of(services, org_id)
    return answer(
        {
            "id": organization.subscription_id,
            "org_id": organization.id,
            "plan": organization.plan,
            "status": "ACTIVE",
            "current_period_start": iso(organization.period_start),
            "current_period_end": iso(organization.period_end),
            "canceled_at": None,
            "created_at": iso(organization.created_at),
        }
    )


@router.get(_OF_ORGANIZATION + "/usage", response_model=dict[str, Any])
def get_usage(services: Developer, org_id: UUID) -> Response:
    """Return the usage in the current period, and the plan's limits."""
    organization = organization_of(services, org_id)
    services.accounts.roll_period(organization)
    used = {counter: getattr(organization, counter) for counter in _COUNTERS}
    return answer(
        {
            "plan": organization.plan,
            "status": "ACTIVE",
            **_period(organization),
            **used,
            "limits": PLANS[organization.plan].limits,
        }
    )


@router.get(_OF_ORGANIZATION + "/billing", response_model=dict[str, Any])
def get_billing(services: Developer, org_id: UUID) -> Response:
    """Return a bill of zero."""
    organization = organization_of(services, org_id)
    plan = PLANS[organization.plan]
    categories = {
        counter: {
            "used": getattr(organization, counter),
            "included": plan.included(counter),
            "overage_units": 0,
            "overage_cost": _NOTHING,
        }
        for counter in _COUNTERS
    }
    return answer(
        {
            "plan": organization.plan,
            **_period(organization),
            "base_price_cents": 0,
            "overage_unit_price": OVERAGE_UNIT_PRICE,
            **categories,
            "total_overage_cost": _NOTHING,
            "reported_overage_cost": _NOTHING,
            "pending_overage_cost": _NOTHING,
            "estimated_total_cents": 0,
        }
    )


@router.get(_OF_ORGANIZATION + "/invoices", response_model=list[dict[str, Any]])
def get_invoices(services: Developer, org_id: UUID, limit: Annotated[int, Query(ge=1, le=36)] = 12) -> Response:
    """Return no invoices."""
    organization_of(services, org_id)
    del limit
    return answer([])


def _period(organization: Organization) -> dict[str, str]:
    return {"period_start": iso(organization.period_start), "period_end": iso(organization.period_end)}
