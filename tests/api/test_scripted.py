"""Operations that need several users: the requests, and the fields of the answers.

The local server and the recordings have one user and refuse these operations. The answers here follow the API's
description.
"""

from __future__ import annotations

from uuid import uuid4

from both_clients import Connect, settled
from scripted_api import ScriptedApi, Told

ORGANIZATION, PERSON, INVITATION = uuid4(), uuid4(), uuid4()
TIME = "2026-01-02T03:04:05.678901+00:00"
INVITED = {
    "id": str(INVITATION),
    "org_id": str(ORGANIZATION),
    "org_name": "o",
    "email": "a@example.org",
    "role": "MEMBER",
    "status": "PENDING",
    "invited_by": str(PERSON),
    "inviter_display_name": "P",
    "inviter_email": "p@example.org",
    "created_at": TIME,
    "expires_at": TIME,
}
MEMBER = {
    "id": str(uuid4()),
    "user_id": str(PERSON),
    "org_id": str(ORGANIZATION),
    "role": "ADMIN",
    "display_name": "P",
    "email": "p@example.org",
    "created_at": TIME,
}
PLAN = {
    "name": "HOBBY",
    "base_traces": 100,
    "base_trace_evals": 100,
    "base_session_evals": 10,
    "monitoring_allowed": False,
    "max_members": 1,
    "pay_as_you_go": False,
    "monthly_price_cents": 0,
    "overage_unit_price": "0",
}


async def test_invitations_and_members(connect: Connect) -> None:
    """Invitations are made, listed and revoked; a member's role changes, and a member is removed."""
    base = f"/organizations/{ORGANIZATION}"
    with ScriptedApi() as api:
        api.tell(f"POST {base}/invitations", Told(status=201, body=INVITED))
        api.tell(f"GET {base}/invitations", [INVITED])
        api.tell(f"DELETE {base}/invitations/{INVITATION}", Told(status=204))
        api.tell(f"PATCH {base}/members/{PERSON}", MEMBER)
        api.tell(f"DELETE {base}/members/{PERSON}", Told(status=204))
        members = connect(api.url, token="secret", organization_id=ORGANIZATION).organizations.members

        invitation = await settled(members.invite("a@example.org"))
        listed = await settled(members.invitations())
        revoked = await settled(members.revoke_invitation(INVITATION))
        member = await settled(members.set_role(PERSON, "ADMIN"))
        removed = await settled(members.remove(PERSON))

    assert (invitation.id, invitation.status, listed) == (INVITATION, "PENDING", [invitation])
    assert (revoked, removed, member.role) == (None, None, "ADMIN")
    assert [asked.body for asked in api.asked if asked.body] == [
        {"email": "a@example.org", "role": "MEMBER"},
        {"role": "ADMIN"},
    ]


async def test_ones_own_invitations(connect: Connect) -> None:
    """Accepting an invitation returns the new member, and declining returns None."""
    with ScriptedApi() as api:
        api.tell(f"POST /me/invitations/{INVITATION}/accept", MEMBER)
        api.tell(f"POST /me/invitations/{INVITATION}/decline", Told(status=204))
        me = connect(api.url, token="secret").me

        member = await settled(me.accept_invitation(INVITATION))
        declined = await settled(me.decline_invitation(str(INVITATION)))

    assert (member.org_id, declined) == (ORGANIZATION, None)


async def test_plans(connect: Connect) -> None:
    """A plan with a limit of None is unlimited."""
    with ScriptedApi() as api:
        api.tell("GET /subscriptions/plans", [PLAN, {**PLAN, "name": "PRO", "base_traces": None}])
        plans = await settled(connect(api.url, token="secret").organizations.billing.plans())

    assert [(plan.name, plan.base_traces) for plan in plans] == [("HOBBY", 100), ("PRO", None)]
