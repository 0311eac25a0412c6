"""Conversation ids for objects that remember their messages, in libraries that give them no id."""

from __future__ import annotations

import uuid
import weakref
from typing import Any


class ConversationIds:
    """One id for each living object, without keeping the object alive."""

    def __init__(self) -> None:
        self._ids: weakref.WeakKeyDictionary[Any, str] = weakref.WeakKeyDictionary()

    def of(self, remembers: Any) -> str:
        """Return the object's id, 32 hexadecimal digits. Raises TypeError if the object supports no weak references."""
        return self._ids.setdefault(remembers, uuid.uuid4().hex)
