"""Query and path parameters that several routes share."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final

from fastapi import Query

from pandaprobe_otel.local.models.fields import Moment
from pandaprobe_otel.local.times import micros_of

_INT8_MAX: Final = 2**63 - 1

Limit200 = Annotated[int, Query(ge=1, le=200)]
Limit1000 = Annotated[int, Query(ge=1, le=1000)]
Limit100 = Annotated[int, Query(ge=1, le=100)]
Offset = Annotated[int, Query(ge=0, le=_INT8_MAX)]
"""The real server fails with a 500 above int8 (measured on server 0.5.0)."""
Since = Annotated[Moment | None, Query()]
RequiredMoment = Annotated[Moment, Query()]
Tags = Annotated[list[str] | None, Query()]


def micros_or_none(moment: datetime | None) -> int | None:
    """Return the microseconds of an optional moment."""
    return None if moment is None else micros_of(moment)
