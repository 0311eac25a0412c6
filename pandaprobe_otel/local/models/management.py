"""Bodies of the management routes."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal
from uuid import UUID

from pydantic import BaseModel, Field

from pandaprobe_otel.local.models.fields import RequestBody


class Role(StrEnum):
    """Role of a member."""

    OWNER = "OWNER"
    ADMIN = "ADMIN"
    MEMBER = "MEMBER"


class CreateOrganization(RequestBody):
    """Body of `POST /organizations`."""

    name: str = Field(min_length=1, max_length=255)


class UpdateOrganization(RequestBody):
    """Body of `PATCH /organizations/{id}`."""

    name: str | None = Field(default=None, min_length=1, max_length=255)


class UpdateMember(RequestBody):
    """Body of `PATCH /organizations/{id}/members/{user_id}`."""

    role: Role


class CreateInvitation(RequestBody):
    """Body of `POST /organizations/{id}/invitations`."""

    email: str = Field(min_length=3, max_length=320)
    role: Role = Role.MEMBER


class CreateProject(RequestBody):
    """Body of `POST /organizations/{id}/projects`."""

    name: str = Field(min_length=1, max_length=255)
    description: str = Field(default="", max_length=2000)


class UpdateProject(RequestBody):
    """Body of `PATCH /organizations/{id}/projects/{project_id}`."""

    name: str | None = Field(default=None, min_length=1, max_length=255)
    description: str | None = Field(default=None, max_length=2000)


class CreateApiKey(RequestBody):
    """Body of `POST /organizations/{id}/api-keys`."""

    name: str = Field(min_length=1, max_length=255)
    expiration: Literal["never", "90d"] = "never"


class IssueCode(RequestBody):
    """Body of `POST /cli/auth/codes`."""

    org_id: UUID
    project_id: UUID
    code_challenge: str = Field(min_length=1)
    code_challenge_method: str = "S256"
    label: str = Field(min_length=1, max_length=255)
    expires_days: int = Field(default=90, ge=1, le=3650)


class ExchangeCode(RequestBody):
    """Body of `POST /cli/auth/exchange`."""

    code: str = Field(min_length=1)
    code_verifier: str = Field(min_length=1)


class UserProfile(BaseModel):
    """The developer."""

    id: UUID
    email: str
    display_name: str
    created_at: str
    last_sign_in_at: str | None = None


class OrganizationResponse(BaseModel):
    """An organization."""

    id: UUID
    name: str
    created_at: str


class MyOrganization(OrganizationResponse):
    """An organization and the developer's role in it."""

    role: Role


class Membership(BaseModel):
    """A member of an organization."""

    id: UUID
    user_id: UUID
    org_id: UUID
    role: Role
    display_name: str
    email: str
    created_at: str


class ProjectResponse(BaseModel):
    """A project."""

    id: UUID
    org_id: UUID
    name: str
    description: str
    created_at: str


class ApiKeyResponse(BaseModel):
    """An API key. Only the answer that creates it has `raw_key`."""

    id: UUID
    org_id: UUID
    key_prefix: str
    name: str
    is_active: bool
    created_at: str
    expires_at: str | None
    raw_key: str | None = None
