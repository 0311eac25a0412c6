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


async def test_invitations_and_members(connect: Connect) -> None:
    """Invitations are made, listed, revoked, accepted and declined; members change and leave."""
    base, done = f"/organizations/{ORGANIZATION}", Told(status=204)
    with ScriptedApi() as api:
        api.tell(f"POST {base}/invitations", Told(status=201, body=INVITED))
        api.tell(f"GET {base}/invitations", [INVITED])
        api.tell(f"DELETE {base}/invitations/{INVITATION}", done)
        api.tell(f"PATCH {base}/members/{PERSON}", MEMBER)
        api.tell(f"DELETE {base}/members/{PERSON}", done)
        api.tell(f"POST /me/invitations/{INVITATION}/accept", MEMBER)
        api.tell(f"POST /me/invitations/{INVITATION}/decline", done)
        client = connect(api.url, token="secret", organization_id=ORGANIZATION)
        members = client.organizations.members

        invitation = await settled(members.invite("a@example.org"))
        listed = await settled(members.invitations())
        revoked = await settled(members.revoke_invitation(INVITATION))
        changed = await settled(members.set_role(PERSON, "ADMIN"))
        removed = await settled(members.remove(PERSON))
        accepted = await settled(client.me.accept_invitation(INVITATION))
        declined = await settled(client.me.decline_invitation(str(INVITATION)))

    assert (invitation.id, invitation.status, listed) == (INVITATION, "PENDING", [invitation])
    assert (revoked, removed, declined) == (None, None, None)
    assert (changed.role, accepted.org_id) == ("ADMIN", ORGANIZATION)
    assert [asked.body for asked in api.asked if asked.body] == [
        {"email": "a@example.org", "role": "MEMBER"},
        {"role": "ADMIN"},
    ]
