"""All data that is derived from a trace, by one pure function."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

from pandaprobe_otel.local.sealing.derivation import Derivation
from pandaprobe_otel.local.sealing.facets import FACETS
from pandaprobe_otel.local.sealing.stored_trace import StoredTrace
from pandaprobe_otel.local.sealing.trace_failures import FINDINGS
from pandaprobe_otel.local.sealing.word_index import WORDS, has_full_text

Derived: TypeAlias = Mapping[str, Any]
"""Data derived from one trace, by the name of the derivation."""

DERIVATIONS: Final[Sequence[Derivation]] = (FINDINGS, FACETS, *([WORDS] if has_full_text() else []))


def derive(trace: StoredTrace, derivations: Sequence[Derivation] = DERIVATIONS) -> Derived:
    """Return all data that is derived from a trace."""
    return {derivation.name: derivation.derive(trace) for derivation in derivations}
