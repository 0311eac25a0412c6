"""Bodies of the management routes."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

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
