"""Other vendors' instrumentations of the same library: while one is active, ours is silent."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Rival:
    """An instrumentor class of somebody else, by its module; it is never imported to look."""

    vendor: str
    module: str
    class_name: str

    def is_active(self) -> bool:
        """Whether it has instrumented the library: an OpenTelemetry instrumentor is a singleton that knows."""
        return self.module in sys.modules and bool(getattr(self.instance, "_is_instrumented_by_opentelemetry", False))

    @property
    def instance(self) -> Any:
        """The singleton; None when there is none yet."""
        module = sys.modules.get(self.module)
        return getattr(getattr(module, self.class_name, None), "_instance", None)


def active_rival(rivals: Iterable[Rival]) -> Rival | None:
    """The first of `rivals` that is active."""
    for rival in rivals:
        # Each call asks this of rivals that mostly are not even installed.
        if rival.module in sys.modules and rival.is_active():
            return rival
    return None
