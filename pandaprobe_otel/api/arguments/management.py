"""Arguments about organizations, members, projects and keys."""

from __future__ import annotations

from typing import Annotated, Required

from pydantic import Field

from pandaprobe_otel.api.arguments.base import Arguments
from pandaprobe_otel.api.fields import AnyExpiration, AnyRole, Title

Description = Annotated[str, Field(max_length=2000)]


class OrganizationArguments(Arguments):
    """Name of an organization."""

    name: Title


class RoleArguments(Arguments):
    """Role of a member."""

    role: AnyRole


class InvitationArguments(Arguments, total=False):
    """Invitation to send."""

    email: Required[Annotated[str, Field(min_length=3, max_length=320)]]
    role: AnyRole


class ProjectArguments(Arguments, total=False):
    """Project to create."""

    name: Required[Title]
    description: Description


class ProjectChanges(Arguments, total=False):
    """Changes to a project; omitted fields stay."""

    name: Title
    description: Description


class ApiKeyArguments(Arguments, total=False):
    """API key to create."""

    name: Required[Title]
    expiration: AnyExpiration


class ApiKeyDeletion(Arguments, total=False):
    """Query of DELETE /organizations/{org_id}/api-keys/{key_id}: `permanent` deletes the key instead of revoking it."""

    permanent: bool


class InvoicesQuery(Arguments, total=False):
    """Query of the list of past periods."""

    limit: Annotated[int, Field(ge=1, le=36)]
