"""`client.organizations`, `.projects`, `.api_keys` and `.me`. They need a bearer token."""

from __future__ import annotations

from typing import Annotated, Any, Final, Required, TypeAlias, Unpack
from uuid import UUID

from pydantic import Field

from pandaprobe_otel.api.calls import Steps, call
from pandaprobe_otel.api.endpoint import Endpoint, Repeat, Scope
from pandaprobe_otel.api.fields import Arguments, KeyExpiration, Title
from pandaprobe_otel.api.models import (
    ApiKey,
    MyOrganization,
    Organization,
    Project,
    Usage,
    UserProfile,
)
from pandaprobe_otel.api.operation import AsyncResource, Resource, SyncResource, operation, organization_path

Description = Annotated[str, Field(max_length=2000)]


class OrganizationArguments(Arguments):
    """Name of an organization."""

    name: Title


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
    expiration: KeyExpiration


class ApiKeyDeletion(Arguments, total=False):
    """Query of DELETE /organizations/{org_id}/api-keys/{key_id}: `permanent` deletes the key instead of revoking it."""

    permanent: bool


MyOrganizations: TypeAlias = list[MyOrganization]

_ONE: Final = "/organizations/{org_id}"
_MANAGEMENT: Final = Scope.MANAGEMENT

LIST: Final = Endpoint(method="GET", path="/organizations", answer=MyOrganizations, scope=_MANAGEMENT)
CREATE: Final = Endpoint(
    method="POST",
    path="/organizations",
    body=OrganizationArguments,
    answer=Organization,
    repeat=Repeat.NEVER,
    scope=_MANAGEMENT,
)
GET: Final = Endpoint(method="GET", path=_ONE, answer=MyOrganization, scope=_MANAGEMENT)
UPDATE: Final = Endpoint(method="PATCH", path=_ONE, body=OrganizationArguments, answer=Organization, scope=_MANAGEMENT)
DELETE: Final = Endpoint(method="DELETE", path=_ONE, answer=type(None), scope=_MANAGEMENT)
USAGE: Final = Endpoint(method="GET", path=_ONE + "/subscriptions/usage", answer=Usage, scope=_MANAGEMENT)


class OfAnOrganization(Resource):
    """Routes of an organization: the given one, else the client's `organization_id`."""

    def _path(self, organization_id: UUID | str | None, endpoint: Endpoint[Any], **others: object) -> dict[str, str]:
        return organization_path(organization_id, self._connection.organization_id, what=str(endpoint), **others)


class OrganizationOperations(OfAnOrganization):
    """Operations on organizations."""

    @operation
    def list(self) -> Steps[MyOrganizations]:
        """Return the organizations of the token's owner."""
        return call(self._connection, LIST)

    @operation
    def create(self, name: str) -> Steps[Organization]:
        """Create an organization; the token's owner becomes its owner."""
        return call(self._connection, CREATE, body={"name": name})

    @operation
    def get(self, organization_id: UUID | str | None = None) -> Steps[MyOrganization]:
        """Return an organization."""
        return call(self._connection, GET, path=self._path(organization_id, GET))

    @operation
    def update(self, name: str, *, organization_id: UUID | str | None = None) -> Steps[Organization]:
        """Rename an organization."""
        return call(self._connection, UPDATE, path=self._path(organization_id, UPDATE), body={"name": name})

    @operation
    def delete(self, organization_id: UUID | str) -> Steps[None]:
        """Delete an organization and everything in it. Its id must be given, even if the client has one."""
        return call(self._connection, DELETE, path=self._path(organization_id, DELETE))

    @operation
    def usage(self, organization_id: UUID | str | None = None) -> Steps[Usage]:
        """Return the usage in the current period, and what the plan includes."""
        return call(self._connection, USAGE, path=self._path(organization_id, USAGE))


class Organizations(OrganizationOperations, SyncResource):
    """`Client.organizations`."""


class AsyncOrganizations(OrganizationOperations, AsyncResource):
    """`AsyncClient.organizations`."""


ProjectList: TypeAlias = list[Project]
KeyList: TypeAlias = list[ApiKey]

_PROJECTS: Final = "/organizations/{org_id}/projects"
_PROJECT: Final = _PROJECTS + "/{project_id}"
_KEYS: Final = "/organizations/{org_id}/api-keys"
_KEY: Final = _KEYS + "/{key_id}"

CREATE_PROJECT: Final = Endpoint(
    method="POST", path=_PROJECTS, body=ProjectArguments, answer=Project, repeat=Repeat.NEVER, scope=_MANAGEMENT
)
LIST_PROJECTS: Final = Endpoint(method="GET", path=_PROJECTS, answer=ProjectList, scope=_MANAGEMENT)
GET_PROJECT: Final = Endpoint(method="GET", path=_PROJECT, answer=Project, scope=_MANAGEMENT)
UPDATE_PROJECT: Final = Endpoint(method="PATCH", path=_PROJECT, body=ProjectChanges, answer=Project, scope=_MANAGEMENT)
DELETE_PROJECT: Final = Endpoint(method="DELETE", path=_PROJECT, answer=type(None), scope=_MANAGEMENT)

CREATE_KEY: Final = Endpoint(
    method="POST", path=_KEYS, body=ApiKeyArguments, answer=ApiKey, repeat=Repeat.NEVER, scope=_MANAGEMENT
)
LIST_KEYS: Final = Endpoint(method="GET", path=_KEYS, answer=KeyList, scope=_MANAGEMENT)
GET_KEY: Final = Endpoint(method="GET", path=_KEY, answer=ApiKey, scope=_MANAGEMENT)
DELETE_KEY: Final = Endpoint(method="DELETE", path=_KEY, query=ApiKeyDeletion, answer=type(None), scope=_MANAGEMENT)
ROTATE_KEY: Final = Endpoint(
    method="POST", path=_KEY + "/rotate", answer=ApiKey, repeat=Repeat.NEVER, scope=_MANAGEMENT
)

ME: Final = Endpoint(method="GET", path="/me", answer=UserProfile, scope=_MANAGEMENT)


class ProjectOperations(OfAnOrganization):
    """Projects of an organization: the given one, else the client's `organization_id`."""

    @operation
    def list(self, organization_id: UUID | str | None = None) -> Steps[ProjectList]:
        """Return all projects."""
        return call(self._connection, LIST_PROJECTS, path=self._path(organization_id, LIST_PROJECTS))

    @operation
    def create(self, name: str, *, description: str = "", organization_id: UUID | str | None = None) -> Steps[Project]:
        """Create a project. Raises Conflict if the name is taken."""
        body = {"name": name, "description": description}
        return call(self._connection, CREATE_PROJECT, path=self._path(organization_id, CREATE_PROJECT), body=body)

    @operation
    def get(self, project_id: UUID | str, *, organization_id: UUID | str | None = None) -> Steps[Project]:
        """Return a project."""
        return call(self._connection, GET_PROJECT, path=self._path(organization_id, GET_PROJECT, project_id=project_id))

    @operation
    def update(
        self,
        project_id: UUID | str,
        *,
        organization_id: UUID | str | None = None,
        **changes: Unpack[ProjectChanges],
    ) -> Steps[Project]:
        """Rename or describe a project; omitted fields stay."""
        path = self._path(organization_id, UPDATE_PROJECT, project_id=project_id)
        return call(self._connection, UPDATE_PROJECT, path=path, body=changes)

    @operation
    def delete(self, project_id: UUID | str, *, organization_id: UUID | str | None = None) -> Steps[None]:
        """Delete a project with all its traces."""
        return call(
            self._connection, DELETE_PROJECT, path=self._path(organization_id, DELETE_PROJECT, project_id=project_id)
        )


class Projects(ProjectOperations, SyncResource):
    """`Client.projects`."""


class AsyncProjects(ProjectOperations, AsyncResource):
    """`AsyncClient.projects`."""


class ApiKeyOperations(OfAnOrganization):
    """API keys of an organization: the given one, else the client's `organization_id`."""

    @operation
    def list(self, organization_id: UUID | str | None = None) -> Steps[KeyList]:
        """Return all keys, without the secrets."""
        return call(self._connection, LIST_KEYS, path=self._path(organization_id, LIST_KEYS))

    @operation
    def create(
        self,
        name: str,
        *,
        expiration: KeyExpiration = "never",
        organization_id: UUID | str | None = None,
    ) -> Steps[ApiKey]:
        """Create a key. `raw_key` of the answer is the secret, which is not shown again.

        The key may be refused for a moment, because the server stores it only after it answers (measured on server
        0.5.0).
        """
        body = {"name": name, "expiration": expiration}
        return call(self._connection, CREATE_KEY, path=self._path(organization_id, CREATE_KEY), body=body)

    @operation
    def get(self, key_id: UUID | str, *, organization_id: UUID | str | None = None) -> Steps[ApiKey]:
        """Return a key, without the secret."""
        return call(self._connection, GET_KEY, path=self._path(organization_id, GET_KEY, key_id=key_id))

    @operation
    def revoke(self, key_id: UUID | str, *, organization_id: UUID | str | None = None) -> Steps[None]:
        """Revoke a key; it stays in the list."""
        return call(self._connection, DELETE_KEY, path=self._path(organization_id, DELETE_KEY, key_id=key_id))

    @operation
    def delete(self, key_id: UUID | str, *, organization_id: UUID | str | None = None) -> Steps[None]:
        """Delete a key permanently."""
        path = self._path(organization_id, DELETE_KEY, key_id=key_id)
        return call(self._connection, DELETE_KEY, path=path, query={"permanent": True})

    @operation
    def rotate(self, key_id: UUID | str, *, organization_id: UUID | str | None = None) -> Steps[ApiKey]:
        """Replace a key with a new one; `raw_key` of the answer is its secret."""
        return call(self._connection, ROTATE_KEY, path=self._path(organization_id, ROTATE_KEY, key_id=key_id))


class ApiKeys(ApiKeyOperations, SyncResource):
    """`Client.api_keys`."""


class AsyncApiKeys(ApiKeyOperations, AsyncResource):
    """`AsyncClient.api_keys`."""


class MeOperations(Resource):
    """The token's owner."""

    @operation
    def get(self) -> Steps[UserProfile]:
        """Return the profile."""
        return call(self._connection, ME)


class Me(MeOperations, SyncResource):
    """`Client.me`."""


class AsyncMe(MeOperations, AsyncResource):
    """`AsyncClient.me`."""
