"""`client.organizations`, `.projects`, `.api_keys` and `.me`. They need a bearer token."""

# pyright: reportReturnType=false
# The signature of a method that is one request is the whole method.

from __future__ import annotations

from functools import partial
from typing import Annotated, Final, Unpack
from uuid import UUID

from pydantic import Field

from pandaprobe_otel.api.endpoint import Repeat, Scope
from pandaprobe_otel.api.fields import Arguments, KeyExpiration, Rows, Title
from pandaprobe_otel.api.models import ApiKey, MyOrganization, Organization, Project, Usage, UserProfile
from pandaprobe_otel.api.operation import D, Resource, endpoint

Description = Annotated[str, Field(max_length=2000)]


class ProjectChanges(Arguments, total=False):
    """Changes to a project; omitted fields stay."""

    name: Title
    description: Description


class ApiKeyDeletion(Arguments, total=False):
    """Query of DELETE /organizations/{org_id}/api-keys/{key_id}: `permanent` deletes the key instead of revoking it."""

    permanent: bool


_ONE: Final = "/organizations/{org_id}"
_PROJECTS: Final = _ONE + "/projects"
_PROJECT: Final = _PROJECTS + "/{project_id}"
_KEYS: Final = _ONE + "/api-keys"
_KEY: Final = _KEYS + "/{key_id}"
_managed: Final = partial(endpoint, scope=Scope.MANAGEMENT)


class Organizations(Resource[D]):
    """Organizations; by default, the client's `organization_id`."""

    @_managed("GET", "/organizations")
    def list(self) -> Rows[MyOrganization]:
        """Return the organizations of the token's owner."""

    @_managed("POST", "/organizations", repeat=Repeat.NEVER)
    def create(self, name: Title) -> Organization:
        """Create an organization; the token's owner becomes its owner."""

    @_managed("GET", _ONE)
    def get(self, organization_id: UUID | str | None = None) -> MyOrganization:
        """Return an organization."""

    @_managed("PATCH", _ONE)
    def update(self, name: Title, *, organization_id: UUID | str | None = None) -> Organization:
        """Rename an organization."""

    @_managed("DELETE", _ONE)
    def delete(self, organization_id: UUID | str) -> None:
        """Delete an organization and everything in it. Its id must be given, even if the client has one."""

    @_managed("GET", _ONE + "/subscriptions/usage")
    def usage(self, organization_id: UUID | str | None = None) -> Usage:
        """Return the usage in the current period, and what the plan includes."""


class Projects(Resource[D]):
    """Projects of an organization: the given one, else the client's `organization_id`."""

    @_managed("GET", _PROJECTS)
    def list(self, organization_id: UUID | str | None = None) -> Rows[Project]:
        """Return all projects."""

    @_managed("POST", _PROJECTS, repeat=Repeat.NEVER)
    def create(
        self, name: Title, *, description: Description = "", organization_id: UUID | str | None = None
    ) -> Project:
        """Create a project. Raises Conflict if the name is taken."""

    @_managed("GET", _PROJECT)
    def get(self, project_id: UUID | str, *, organization_id: UUID | str | None = None) -> Project:
        """Return a project."""

    @_managed("PATCH", _PROJECT)
    def update(
        self,
        project_id: UUID | str,
        *,
        organization_id: UUID | str | None = None,
        **changes: Unpack[ProjectChanges],
    ) -> Project:
        """Rename or describe a project; omitted fields stay."""

    @_managed("DELETE", _PROJECT)
    def delete(self, project_id: UUID | str, *, organization_id: UUID | str | None = None) -> None:
        """Delete a project with all its traces."""


class ApiKeys(Resource[D]):
    """API keys of an organization: the given one, else the client's `organization_id`."""

    @_managed("GET", _KEYS)
    def list(self, organization_id: UUID | str | None = None) -> Rows[ApiKey]:
        """Return all keys, without the secrets."""

    @_managed("POST", _KEYS, repeat=Repeat.NEVER)
    def create(
        self, name: Title, *, expiration: KeyExpiration = "never", organization_id: UUID | str | None = None
    ) -> ApiKey:
        """Create a key. `raw_key` of the answer is the secret, which is not shown again.

        The key may be refused for a moment, because the server stores it only after it answers (measured on server
        0.5.0).
        """

    @_managed("GET", _KEY)
    def get(self, key_id: UUID | str, *, organization_id: UUID | str | None = None) -> ApiKey:
        """Return a key, without the secret."""

    @_managed("DELETE", _KEY)
    def delete(
        self, key_id: UUID | str, *, organization_id: UUID | str | None = None, **how: Unpack[ApiKeyDeletion]
    ) -> None:
        """Revoke a key; it stays in the list. With `permanent=True`, delete it."""

    @_managed("POST", _KEY + "/rotate", repeat=Repeat.NEVER)
    def rotate(self, key_id: UUID | str, *, organization_id: UUID | str | None = None) -> ApiKey:
        """Replace a key with a new one; `raw_key` of the answer is its secret."""


class Me(Resource[D]):
    """The token's owner."""

    @_managed("GET", "/me")
    def get(self) -> UserProfile:
        """Return the profile."""
