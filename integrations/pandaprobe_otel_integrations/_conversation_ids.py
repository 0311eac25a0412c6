"""Conversations of objects that remember what was said, where the library has no id for them."""

from __future__ import annotations

import uuid
import weakref
from typing import Any


class ConversationIds:
    """One id for each such object while it is there; none keeps its object alive."""

    def __init__(self) -> None:
        self._ids: weakref.WeakKeyDictionary[Any, str] = weakref.WeakKeyDictionary()

    def of(self, remembers: Any) -> str:
        """Return the id, of 32 hexadecimal digits. Raises TypeError for what cannot be referred to weakly."""
        return self._ids.setdefault(remembers, uuid.uuid4().hex)
