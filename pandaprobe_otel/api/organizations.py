"""`client.organizations`, `.projects`, `.api_keys` and `.me`. They need a bearer token."""

from __future__ import annotations

from typing import Annotated, Any, Final, Required, TypeAlias, Unpack
from uuid import UUID

from pydantic import Field

from pandaprobe_otel.api.calls import AsyncDriver, Connection, Steps, SyncDriver, call
from pandaprobe_otel.api.endpoint import Endpoint, Repeat, Scope
from pandaprobe_otel.api.fields import Arguments, KeyExpiration, Known, MembershipRole, Title
from pandaprobe_otel.api.models import (
    ApiKey,
    Billing,
    Invitation,
    Membership,
    MyOrganization,
    Organization,
    PastUsage,
    Plan,
    Project,
    Subscription,
    Usage,
    UserProfile,
)
from pandaprobe_otel.api.operation import AsyncResource, Resource, SyncResource, operation, organization_path, uuid_of

Description = Annotated[str, Field(max_length=2000)]


class OrganizationArguments(Arguments):
    """Name of an organization."""

    name: Title


class RoleArguments(Arguments):
    """Role of a member."""

    role: Known[MembershipRole]


class InvitationArguments(Arguments, total=False):
    """Invitation to send."""

    email: Required[Annotated[str, Field(min_length=3, max_length=320)]]
    role: Known[MembershipRole]


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
    expiration: Known[KeyExpiration]


class ApiKeyDeletion(Arguments, total=False):
    """Query of DELETE /organizations/{org_id}/api-keys/{key_id}: `permanent` deletes the key instead of revoking it."""

    permanent: bool


class InvoicesQuery(Arguments, total=False):
    """Query of the list of past periods."""

    limit: Annotated[int, Field(ge=1, le=36)]


MyOrganizations: TypeAlias = list[MyOrganization]
Memberships: TypeAlias = list[Membership]
Invitations: TypeAlias = list[Invitation]
Plans: TypeAlias = list[Plan]
PastUsages: TypeAlias = list[PastUsage]

_ONE: Final = "/organizations/{org_id}"
_MEMBERS: Final = _ONE + "/members"
_INVITATIONS: Final = _ONE + "/invitations"
_SUBSCRIPTIONS: Final = _ONE + "/subscriptions"
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

MEMBERS: Final = Endpoint(method="GET", path=_MEMBERS, answer=Memberships, scope=_MANAGEMENT)
SET_ROLE: Final = Endpoint(
    method="PATCH", path=_MEMBERS + "/{user_id}", body=RoleArguments, answer=Membership, scope=_MANAGEMENT
)
REMOVE: Final = Endpoint(method="DELETE", path=_MEMBERS + "/{user_id}", answer=type(None), scope=_MANAGEMENT)
INVITE: Final = Endpoint(
    method="POST",
    path=_INVITATIONS,
    body=InvitationArguments,
    answer=Invitation,
    repeat=Repeat.NEVER,
    scope=_MANAGEMENT,
)
INVITATIONS: Final = Endpoint(method="GET", path=_INVITATIONS, answer=Invitations, scope=_MANAGEMENT)
REVOKE: Final = Endpoint(method="DELETE", path=_INVITATIONS + "/{invitation_id}", answer=type(None), scope=_MANAGEMENT)

PLANS: Final = Endpoint(method="GET", path="/subscriptions/plans", answer=Plans, scope=_MANAGEMENT)
SUBSCRIPTION: Final = Endpoint(method="GET", path=_SUBSCRIPTIONS, answer=Subscription, scope=_MANAGEMENT)
USAGE: Final = Endpoint(method="GET", path=_SUBSCRIPTIONS + "/usage", answer=Usage, scope=_MANAGEMENT)
BILL: Final = Endpoint(method="GET", path=_SUBSCRIPTIONS + "/billing", answer=Billing, scope=_MANAGEMENT)
PAST: Final = Endpoint(
    method="GET", path=_SUBSCRIPTIONS + "/invoices", query=InvoicesQuery, answer=PastUsages, scope=_MANAGEMENT
)


class OfAnOrganization(Resource):
    """Routes of an organization: the given one, else the client's `organization_id`."""

    def _path(self, organization_id: UUID | str | None, endpoint: Endpoint[Any], **others: object) -> dict[str, str]:
        return organization_path(organization_id, self._connection.organization_id, what=str(endpoint), **others)


class MemberOperations(OfAnOrganization):
    """Members and invitations of an organization."""

    @operation
    def list(self, organization_id: UUID | str | None = None) -> Steps[Memberships]:
        """Return all members."""
        return call(self._connection, MEMBERS, path=self._path(organization_id, MEMBERS))

    @operation
    def set_role(
        self, user_id: UUID | str, role: MembershipRole | str, *, organization_id: UUID | str | None = None
    ) -> Steps[Membership]:
        """Change a member's role."""
        path = self._path(organization_id, SET_ROLE, user_id=user_id)
        return call(self._connection, SET_ROLE, path=path, body={"role": role})

    @operation
    def remove(self, user_id: UUID | str, *, organization_id: UUID | str | None = None) -> Steps[None]:
        """Remove a member."""
        return call(self._connection, REMOVE, path=self._path(organization_id, REMOVE, user_id=user_id))

    @operation
    def invite(
        self,
        email: str,
        *,
        role: MembershipRole | str = MembershipRole.MEMBER,
        organization_id: UUID | str | None = None,
    ) -> Steps[Invitation]:
        """Invite somebody by e-mail."""
        path = self._path(organization_id, INVITE)
        return call(self._connection, INVITE, path=path, body={"email": email, "role": role})

    @operation
    def invitations(self, organization_id: UUID | str | None = None) -> Steps[Invitations]:
        """Return all invitations."""
        return call(self._connection, INVITATIONS, path=self._path(organization_id, INVITATIONS))

    @operation
    def revoke_invitation(self, invitation_id: UUID | str, *, organization_id: UUID | str | None = None) -> Steps[None]:
        """Revoke an invitation."""
        return call(self._connection, REVOKE, path=self._path(organization_id, REVOKE, invitation_id=invitation_id))


class Members(MemberOperations, SyncResource):
    """`Client.organizations.members`."""


class AsyncMembers(MemberOperations, AsyncResource):
    """`AsyncClient.organizations.members`."""


class BillingOperations(OfAnOrganization):
    """Plans, usage and costs."""

    @operation
    def plans(self) -> Steps[Plans]:
        """Return the available plans."""
        return call(self._connection, PLANS)

    @operation
    def subscription(self, organization_id: UUID | str | None = None) -> Steps[Subscription]:
        """Return the organization's subscription."""
        return call(self._connection, SUBSCRIPTION, path=self._path(organization_id, SUBSCRIPTION))

    @operation
    def usage(self, organization_id: UUID | str | None = None) -> Steps[Usage]:
        """Return the usage in the current period, and what the plan includes."""
        return call(self._connection, USAGE, path=self._path(organization_id, USAGE))

    @operation
    def bill(self, organization_id: UUID | str | None = None) -> Steps[Billing]:
        """Return the bill of the current period so far."""
        return call(self._connection, BILL, path=self._path(organization_id, BILL))

    @operation
    def past(self, organization_id: UUID | str | None = None, **query: Unpack[InvoicesQuery]) -> Steps[PastUsages]:
        """Return the usage in past periods, latest first; `limit` is 1 to 36."""
        return call(self._connection, PAST, path=self._path(organization_id, PAST), query=query)


class Billings(BillingOperations, SyncResource):
    """`Client.organizations.billing`."""


class AsyncBillings(BillingOperations, AsyncResource):
    """`AsyncClient.organizations.billing`."""


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


class Organizations(OrganizationOperations, SyncResource):
    """`Client.organizations`."""

    def __init__(self, connection: Connection, driver: SyncDriver) -> None:
        super().__init__(connection, driver)
        self.members: Final = Members(connection, driver)
        self.billing: Final = Billings(connection, driver)


class AsyncOrganizations(OrganizationOperations, AsyncResource):
    """`AsyncClient.organizations`."""

    def __init__(self, connection: Connection, driver: AsyncDriver) -> None:
        super().__init__(connection, driver)
        self.members: Final = AsyncMembers(connection, driver)
        self.billing: Final = AsyncBillings(connection, driver)


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
