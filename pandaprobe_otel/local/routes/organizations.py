"""The developer and organizations. A local server has one user, who owns every organization."""

from __future__ import annotations

from typing import Any, Final
from uuid import NAMESPACE_URL, UUID, uuid5

from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.responses import Response

from pandaprobe_otel.local.auth import NAME_RULE, Developer, valid_name
from pandaprobe_otel.local.errors import refused
from pandaprobe_otel.local.models.management import (
    CreateOrganization,
    Membership,
    MyOrganization,
    OrganizationResponse,
    UpdateMember,
    UpdateOrganization,
    UserProfile,
)
from pandaprobe_otel.local.routing import ApiRoute, answer
from pandaprobe_otel.local.services import Services
from pandaprobe_otel.local.store.accounts import HOBBY, Organization
from pandaprobe_otel.local.times import iso

router = APIRouter(route_class=ApiRoute, tags=["organizations"])

USER_ID: Final = str(uuid5(NAMESPACE_URL, "pandaprobe:local-developer"))
EMAIL: Final = "dev@localhost"
_DISPLAY_NAME: Final = "Local Developer"
_MAX_OWNED: Final = 2


def organization_of(services: Services, org_id: UUID) -> Organization:
    """Return an organization of the developer. Raises 403 for any other."""
    organization = services.accounts.organization(str(org_id))
    if organization is None:
        raise HTTPException(403, "You are not a member of this organization.")
    return organization


@router.get("/me", tags=["me"], response_model=UserProfile)
def get_me(services: Developer) -> Response:
    """Return the developer."""
    return answer(
        {
            "id": USER_ID,
            "email": EMAIL,
            "display_name": _DISPLAY_NAME,
            "created_at": iso(services.accounts.home.created_at),
            "last_sign_in_at": None,
        }
    )


@router.get("/organizations", response_model=list[MyOrganization])
def list_my_organizations(services: Developer) -> Response:
    """List the developer's organizations."""
    return answer([_mine(organization) for organization in services.accounts.organizations()])


@router.post("/organizations", status_code=201, response_model=OrganizationResponse)
def create_organization(services: Developer, body: CreateOrganization) -> Response:
    """Create an organization on the HOBBY plan, with a first project. The developer may own two."""
    _check_name(body.name)
    if len(services.accounts.organizations()) >= _MAX_OWNED:
        raise HTTPException(403, "Organization ownership limit reached.")
    organization = services.accounts.add_organization(body.name, HOBBY)
    services.accounts.add_project(organization.id, "onboarding", "Your onboarding project")
    return answer(_record(organization), 201)


@router.get("/organizations/{org_id}", response_model=MyOrganization)
def get_organization(services: Developer, org_id: UUID) -> Response:
    """Return an organization."""
    return answer(_mine(organization_of(services, org_id)))


@router.patch("/organizations/{org_id}", response_model=OrganizationResponse)
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


@router.get("/organizations/{org_id}/members", response_model=list[Membership])
def list_members(services: Developer, org_id: UUID) -> Response:
    """List the members: only the developer."""
    return answer([_membership(organization_of(services, org_id))])


@router.patch("/organizations/{org_id}/members/{user_id}", response_model=Membership)
def update_member_role(services: Developer, org_id: UUID, user_id: UUID, body: UpdateMember) -> Response:
    """Refuse, because the only member is the developer."""
    organization_of(services, org_id)
    del body
    if str(user_id) == USER_ID:
        raise HTTPException(403, "Cannot change your own role.")
    raise HTTPException(404, "Target user is not a member of this organization.")


@router.delete("/organizations/{org_id}/members/{user_id}", status_code=204, response_model=None)
def remove_member(services: Developer, org_id: UUID, user_id: UUID) -> None:
    """Refuse, because the only member is the owner."""
    organization_of(services, org_id)
    if str(user_id) == USER_ID:
        raise HTTPException(403, "Cannot remove an OWNER from the organization.")
    raise HTTPException(404, "Target user is not a member of this organization.")


def _check_name(name: str) -> None:
    if not valid_name(name):
        raise refused(f"Organization name {NAME_RULE}")


def _record(organization: Organization) -> dict[str, Any]:
    return {"id": organization.id, "name": organization.name, "created_at": iso(organization.created_at)}


def _mine(organization: Organization) -> dict[str, Any]:
    return {**_record(organization), "role": "OWNER"}


def _membership(organization: Organization) -> dict[str, Any]:
    return {
        "id": str(uuid5(UUID(organization.id), "membership")),
        "user_id": USER_ID,
        "org_id": organization.id,
        "role": "OWNER",
        "display_name": _DISPLAY_NAME,
        "email": EMAIL,
        "created_at": iso(organization.created_at),
    }
