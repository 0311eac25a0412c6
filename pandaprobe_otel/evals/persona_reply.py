"""Answer of a model that plays a user. It is a separate module because it needs pydantic, which few evaluations "
"load."""

from __future__ import annotations

from pydantic import BaseModel


class PersonaReply(BaseModel):
    """The next message of a user, or the reason why there is none."""

    reason: str
    reached: bool
    leaves: bool
    message: str
