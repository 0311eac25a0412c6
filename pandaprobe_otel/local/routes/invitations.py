"""Invitations. None can be created, because a local server has one user and its plans allow no second one."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.responses import Response

from pandaprobe_otel.local.auth import Developer
from pandaprobe_otel.local.errors import not_found
from pandaprobe_otel.local.models.management import CreateInvitation, Membership, Role
from pandaprobe_otel.local.quota import PLANS
from pandaprobe_otel.local.routes.organizations import EMAIL, organization_of
from pandaprobe_otel.local.routing import ApiRoute, answer

router = APIRouter(route_class=ApiRoute)


@router.get("/me/invitations", tags=["me"], response_model=list[dict[str, Any]])
def list_my_invitations(_services: Developer) -> Response:
    """Return no invitations, because nobody else exists."""
    return answer([])


@router.post("/me/invitations/{invitation_id}/accept", tags=["me"], response_model=Membership)
def accept_invitation(_services: Developer, invitation_id: UUID) -> Response:
    """Refuse: there is no such invitation."""
    del invitation_id
    raise not_found("Invitation")


@router.post("/me/invitations/{invitation_id}/decline", tags=["me"], status_code=204, response_model=None)
def decline_invitation(_services: Developer, invitation_id: UUID) -> None:
    """Refuse: there is no such invitation."""
    del invitation_id
    raise not_found("Invitation")


@router.get("/organizations/{org_id}/invitations", tags=["organizations"], response_model=list[dict[str, Any]])
def list_invitations(services: Developer, org_id: UUID) -> Response:
    """Return no invitations, because none can be created."""
    organization_of(services, org_id)
    return answer([])


@router.post("/organizations/{org_id}/invitations", tags=["organizations"], status_code=201, response_model=None)
def create_invitation(services: Developer, org_id: UUID, body: CreateInvitation) -> None:
    """Refuse by the quota of members, as the hosted service does on a plan for one member."""
    plan = PLANS[organization_of(services, org_id).plan]
    if body.role is Role.OWNER:
        raise HTTPException(403, "Cannot invite a user as OWNER.")
    if body.email.strip().lower() == EMAIL:
        raise HTTPException(409, "You cannot invite yourself.")
    raise HTTPException(
        429, f"Your {plan.name} plan allows up to {plan.max_members} member(s). Please upgrade to invite more."
    )


@router.delete(
    "/organizations/{org_id}/invitations/{invitation_id}",
    tags=["organizations"],
    status_code=204,
    response_model=None,
)
def revoke_invitation(services: Developer, org_id: UUID, invitation_id: UUID) -> None:
    """Refuse: there is no such invitation."""
    organization_of(services, org_id)
    del invitation_id
    raise not_found("Invitation")
