"""The answer of a model that plays a user; apart, since it needs pydantic, which few evaluations load."""

from __future__ import annotations

from pydantic import BaseModel


class PersonaReply(BaseModel):
    """The next message of a user, or why there is none."""

    reason: str
    reached: bool
    leaves: bool
    message: str
