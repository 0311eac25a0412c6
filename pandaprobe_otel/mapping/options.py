"""What may leave the process and how much of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

Capture: TypeAlias = Literal["all", "metadata", "off"]
Mask: TypeAlias = Callable[[Any], Any]
"""Value of a field -> value without what must not leave the process."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MappingOptions:
    """Settings of the mapping; the defaults send everything, within the byte budgets."""

    capture: Capture = "all"
    masks: tuple[Mask, ...] = ()
    max_field_bytes: int = 262_144
    max_trace_bytes: int = 4_194_304
    environment: str | None = None
    release: str | None = None
