"""Answer of a model that plays a user. It needs pydantic, which few evaluations load, so it is a separate module."""

from __future__ import annotations

from pydantic import BaseModel


class PersonaReply(BaseModel):
    """The next message of a user, or the reason why there is none."""

    reason: str
    reached: bool
    leaves: bool
    message: str
