"""The developer, and organizations with their usage. A local server has one user, who owns every organization."""

from __future__ import annotations

from typing import Any, Final
from uuid import NAMESPACE_URL, UUID, uuid5

from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.responses import Response

from pandaprobe_otel.api import models as answers
from pandaprobe_otel.local.auth import NAME_RULE, Developer, valid_name
from pandaprobe_otel.local.errors import refused
from pandaprobe_otel.local.models.management import CreateOrganization, UpdateOrganization
from pandaprobe_otel.local.quota import PLANS
from pandaprobe_otel.local.routing import ApiRoute, answer
from pandaprobe_otel.local.services import Services
from pandaprobe_otel.local.store.accounts import HOBBY, Organization
from pandaprobe_otel.local.times import iso

router = APIRouter(route_class=ApiRoute, tags=["organizations"])

_USER_ID: Final = str(uuid5(NAMESPACE_URL, "pandaprobe:local-developer"))
_MAX_OWNED: Final = 2


def organization_of(services: Services, org_id: UUID) -> Organization:
    """Return an organization of the developer. Raises 403 for any other."""
    organization = services.accounts.organization(str(org_id))
    if organization is None:
        raise HTTPException(403, "You are not a member of this organization.")
    return organization


@router.get("/me", tags=["me"], response_model=answers.UserProfile)
def get_me(services: Developer) -> Response:
    """Return the developer."""
    return answer(
        {
            "id": _USER_ID,
            "email": "dev@localhost",
            "display_name": "Local Developer",
            "created_at": iso(services.accounts.home.created_at),
            "last_sign_in_at": None,
        }
    )


@router.get("/organizations", response_model=list[answers.MyOrganization])
def list_my_organizations(services: Developer) -> Response:
    """List the developer's organizations."""
    return answer([_mine(organization) for organization in services.accounts.organizations()])


@router.post("/organizations", status_code=201, response_model=answers.Organization)
def create_organization(services: Developer, body: CreateOrganization) -> Response:
    """Create an organization on the HOBBY plan, with a first project. The developer may own two."""
    _check_name(body.name)
    if len(services.accounts.organizations()) >= _MAX_OWNED:
        raise HTTPException(403, "Organization ownership limit reached.")
    organization = services.accounts.add_organization(body.name, HOBBY)
    services.accounts.add_project(organization.id, "onboarding", "Your onboarding project")
    return answer(_record(organization), 201)


@router.get("/organizations/{org_id}", response_model=answers.MyOrganization)
def get_organization(services: Developer, org_id: UUID) -> Response:
    """Return an organization."""
    return answer(_mine(organization_of(services, org_id)))


@router.patch("/organizations/{org_id}", response_model=answers.Organization)
def update_organization(services: Developer, org_id: UUID, body: UpdateOrganization) -> Response:
    """Rename an organization."""
    organization = organization_of(services, org_id)
    if body.name is not None:
        _check_name(body.name)
        services.accounts.rename_organization(organization.id, body.name)
    return answer(_record(organization))


@router.delete("/organizations/{org_id}", status_code=204, response_model=None)
def delete_organization(services: Developer, org_id: UUID) -> None:
    """Delete an organization with its content. The first one stays, since keys from the start belong to it."""
    organization = organization_of(services, org_id)
    if organization is services.accounts.home:
        raise HTTPException(403, "The first organization of a local server cannot be deleted.")
    services.accounts.delete_organization(organization.id)


@router.get("/organizations/{org_id}/subscriptions/usage", tags=["subscriptions"], response_model=dict[str, Any])
def get_usage(services: Developer, org_id: UUID) -> Response:
    """Return the usage in the current period, and the plan's limits."""
    organization = organization_of(services, org_id)
    services.accounts.roll_period(organization)
    return answer(
        {
            "plan": organization.plan,
            "status": "ACTIVE",
            "period_start": iso(organization.period_start),
            "period_end": iso(organization.period_end),
            "traces": organization.traces,
            "trace_evals": organization.trace_evals,
            "session_evals": organization.session_evals,
            "limits": PLANS[organization.plan].limits,
        }
    )


def _check_name(name: str) -> None:
    if not valid_name(name):
        raise refused(f"Organization name {NAME_RULE}")


def _record(organization: Organization) -> dict[str, Any]:
    return {"id": organization.id, "name": organization.name, "created_at": iso(organization.created_at)}


def _mine(organization: Organization) -> dict[str, Any]:
    return {**_record(organization), "role": "OWNER"}
