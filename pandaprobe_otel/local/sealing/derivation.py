"""One thing that is derived from a trace, and where it is kept."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pandaprobe_otel.local.sealing.stored_trace import StoredTrace


@dataclass(frozen=True, slots=True, kw_only=True)
class Derivation:
    """One thing that is derived from a trace and kept in tables of its own.

    `derive` is pure: the same trace gives the same result, so that `forget` can be given what `keep` was. Change
    `version` with it, and everything is derived anew. All but `derive` run inside a transaction of the store.
    """

    name: str
    version: int
    derive: Callable[[StoredTrace], Any]
    keep: Callable[[sqlite3.Connection, StoredTrace, Any], None]
    forget: Callable[[sqlite3.Connection, StoredTrace, Any], None]
    clear: Callable[[sqlite3.Connection], None]
    """Delete all that was kept. Rows of deleted projects must go by themselves (`ON DELETE CASCADE`)."""
