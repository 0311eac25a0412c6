"""Bodies of the management routes."""

from __future__ import annotations

from typing import Literal
from uuid import UUID

from pydantic import BaseModel, Field

from pandaprobe_otel.local.models.fields import RequestBody


class CreateOrganization(RequestBody):
    """Body of `POST /organizations`."""

    name: str = Field(min_length=1, max_length=255)


class UpdateOrganization(RequestBody):
    """Body of `PATCH /organizations/{id}`."""

    name: str | None = Field(default=None, min_length=1, max_length=255)


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

    role: Literal["OWNER"]


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
