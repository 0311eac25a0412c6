"""`client.projects`, `client.api_keys` and `client.me`. They need a bearer token."""

from __future__ import annotations

from typing import Final, TypeAlias, Unpack
from uuid import UUID

from pandaprobe_otel.api.arguments.management import (
    ApiKeyArguments,
    ApiKeyDeletion,
    ProjectArguments,
    ProjectChanges,
)
from pandaprobe_otel.api.call_steps import Steps, call
from pandaprobe_otel.api.endpoint import Endpoint, Repeat, Scope
from pandaprobe_otel.api.enums import KeyExpiration
from pandaprobe_otel.api.models import ApiKey, Invitation, Membership, Project, UserProfile
from pandaprobe_otel.api.operation import AsyncResource, Resource, SyncResource, operation
from pandaprobe_otel.api.path_values import uuid_of
from pandaprobe_otel.api.resources.organizations import OfAnOrganization

ProjectList: TypeAlias = list[Project]
KeyList: TypeAlias = list[ApiKey]
Invitations: TypeAlias = list[Invitation]

_PROJECTS: Final = "/organizations/{org_id}/projects"
_PROJECT: Final = _PROJECTS + "/{project_id}"
_KEYS: Final = "/organizations/{org_id}/api-keys"
_KEY: Final = _KEYS + "/{key_id}"
_MANAGEMENT: Final = Scope.MANAGEMENT

CREATE: Final = Endpoint(
    method="POST", path=_PROJECTS, body=ProjectArguments, answer=Project, repeat=Repeat.NEVER, scope=_MANAGEMENT
)
LIST: Final = Endpoint(method="GET", path=_PROJECTS, answer=ProjectList, scope=_MANAGEMENT)
GET: Final = Endpoint(method="GET", path=_PROJECT, answer=Project, scope=_MANAGEMENT)
UPDATE: Final = Endpoint(method="PATCH", path=_PROJECT, body=ProjectChanges, answer=Project, scope=_MANAGEMENT)
DELETE: Final = Endpoint(method="DELETE", path=_PROJECT, answer=type(None), scope=_MANAGEMENT)

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
MY_INVITATIONS: Final = Endpoint(method="GET", path="/me/invitations", answer=Invitations, scope=_MANAGEMENT)
ACCEPT: Final = Endpoint(
    method="POST", path="/me/invitations/{invitation_id}/accept", answer=Membership, scope=_MANAGEMENT
)
DECLINE: Final = Endpoint(
    method="POST", path="/me/invitations/{invitation_id}/decline", answer=type(None), scope=_MANAGEMENT
)


class ProjectOperations(OfAnOrganization):
    """Projects of an organization: the given one, else the client's `organization_id`."""

    @operation
    def list(self, organization_id: UUID | str | None = None) -> Steps[ProjectList]:
        """Return all projects."""
        return call(self._connection, LIST, path=self._path(organization_id, LIST))

    @operation
    def create(self, name: str, *, description: str = "", organization_id: UUID | str | None = None) -> Steps[Project]:
        """Create a project. Raises Conflict if the name is taken."""
        body = {"name": name, "description": description}
        return call(self._connection, CREATE, path=self._path(organization_id, CREATE), body=body)

    @operation
    def get(self, project_id: UUID | str, *, organization_id: UUID | str | None = None) -> Steps[Project]:
        """Return a project."""
        return call(self._connection, GET, path=self._path(organization_id, GET, project_id=project_id))

    @operation
    def update(
        self,
        project_id: UUID | str,
        *,
        organization_id: UUID | str | None = None,
        **changes: Unpack[ProjectChanges],
    ) -> Steps[Project]:
        """Rename or describe a project; omitted fields stay."""
        path = self._path(organization_id, UPDATE, project_id=project_id)
        return call(self._connection, UPDATE, path=path, body=changes)

    @operation
    def delete(self, project_id: UUID | str, *, organization_id: UUID | str | None = None) -> Steps[None]:
        """Delete a project with all its traces."""
        return call(self._connection, DELETE, path=self._path(organization_id, DELETE, project_id=project_id))


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
        expiration: KeyExpiration | str = KeyExpiration.NEVER,
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

    @operation
    def invitations(self) -> Steps[Invitations]:
        """Return the pending invitations."""
        return call(self._connection, MY_INVITATIONS)

    @operation
    def accept_invitation(self, invitation_id: UUID | str) -> Steps[Membership]:
        """Accept an invitation and join the organization."""
        path = {"invitation_id": uuid_of("invitation_id", invitation_id, what=str(ACCEPT))}
        return call(self._connection, ACCEPT, path=path)

    @operation
    def decline_invitation(self, invitation_id: UUID | str) -> Steps[None]:
        """Decline an invitation."""
        path = {"invitation_id": uuid_of("invitation_id", invitation_id, what=str(DECLINE))}
        return call(self._connection, DECLINE, path=path)


class Me(MeOperations, SyncResource):
    """`Client.me`."""


class AsyncMe(MeOperations, AsyncResource):
    """`AsyncClient.me`."""
