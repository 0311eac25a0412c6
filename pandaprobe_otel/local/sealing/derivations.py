"""Everything that is derived from a trace: one pure function, and where each of its results is kept."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from pandaprobe_otel.local.sealing.stored_trace import StoredTrace

Derived: TypeAlias = Mapping[str, Any]
"""What was derived from one trace, by the name of the derivation."""


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


DERIVATIONS: Final[Sequence[Derivation]] = ()


def derive(trace: StoredTrace, derivations: Sequence[Derivation] = DERIVATIONS) -> Derived:
    """Return everything that is derived from a trace."""
    return {derivation.name: derivation.derive(trace) for derivation in derivations}
