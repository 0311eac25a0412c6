"""Data that is derived from a trace, and its tables."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pandaprobe_otel.local.sealing.stored_trace import StoredTrace


@dataclass(frozen=True, slots=True, kw_only=True)
class Derivation:
    """Data that is derived from a trace and stored in its own tables.

    `derive` is pure: the same trace gives the same result, so `forget` receives the same data as `keep` did. If it
    changes, change `version` too, and all data is derived again. All methods except `derive` run inside a transaction
    of the store.
    """

    name: str
    version: int
    derive: Callable[[StoredTrace], Any]
    keep: Callable[[sqlite3.Connection, Sequence[tuple[StoredTrace, Any]]], None]
    """Store the data of some traces, since storing it together is cheaper."""
    forget: Callable[[sqlite3.Connection, StoredTrace, Any], None]
    clear: Callable[[sqlite3.Connection], None]
    """Delete all stored data. Rows of deleted projects must be deleted automatically (`ON DELETE CASCADE`)."""
