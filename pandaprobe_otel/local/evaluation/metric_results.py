"""Results of metrics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pandaprobe_otel.local.evaluation.catalogue import THRESHOLD


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A score from 0 to 1 with its reason; `metadata` is stored with it."""

    score: float
    reason: str
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def value(self) -> str:
        """The score in its stored form: text, rounded to four digits."""
        return str(round(self.score, 4))


def verdict(score: float) -> dict[str, Any]:
    """Return metadata that states whether a score reaches its threshold."""
    return {"threshold": THRESHOLD, "success": score >= THRESHOLD}
