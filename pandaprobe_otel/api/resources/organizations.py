"""`client.organizations`: organizations, their members and their bills. Needs a bearer token."""

from __future__ import annotations

from typing import Any, Final, TypeAlias, Unpack
from uuid import UUID

from pandaprobe_otel.api.arguments.management import (
    InvitationArguments,
    InvoicesQuery,
    OrganizationArguments,
    RoleArguments,
)
from pandaprobe_otel.api.call_steps import Connection, Steps, call
from pandaprobe_otel.api.drivers import AsyncDriver, SyncDriver
from pandaprobe_otel.api.endpoint import Endpoint, Repeat, Scope
from pandaprobe_otel.api.enums import MembershipRole
from pandaprobe_otel.api.models import (
    Billing,
    Invitation,
    Membership,
    MyOrganization,
    Organization,
    PastUsage,
    Plan,
    Subscription,
    Usage,
)
from pandaprobe_otel.api.operation import AsyncResource, Resource, SyncResource, operation
from pandaprobe_otel.api.path_values import organization_path

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
