"""Byte limits of fields and traces. The structure of a value survives, and each cut has a marker with its size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import orjson

from pandaprobe_otel.mapping.exact_types import type_of
from pandaprobe_otel.mapping.shrink import Survey, encoded_size, level_of, shrink

FIELDS: Final = ("input", "output", "metadata", "error", "model_parameters")
"""Fields of a span or trace without a size limit of their own."""

FRAME: Final = 10
"""Bytes of a trace's body around its fields and spans, without the commas between spans."""

MIN_FIELD: Final = 256
_ROUNDS: Final = 4
_CUT: Final = "…[cut]"


def fit_fields(body: dict[str, Any], max_bytes: int, *, total: int | None = None) -> None:
    """Cut each field of the JSON-safe body to `max_bytes`, in place. `total`: bytes of the body, if known.

    If only one field is large, as with a long document, its size is computed from the total without encoding it again.
    """
    present = [field for field in FIELDS if body.get(field) is not None]
    surveys = {field: Survey(body[field]) for field in present} if total is not None else {}
    large = [field for field, survey in surveys.items() if sum(survey.texts) > max_bytes]
    for field in present:
        if total is not None and large == [field]:
            rest = {name: value for name, value in body.items() if name != field}
            size = total - encoded_size(rest) - len(f',"{field}":')
        else:
            size = encoded_size(body[field])
        if size > max_bytes:
            body[field] = _fitted(field, body[field], max_bytes, size, surveys.get(field))


def fit_trace(bodies: Sequence[dict[str, Any]], total: int, max_bytes: int) -> None:
    """Cut the largest fields of all bodies to one size, so that the whole trace fits into `max_bytes`.

    `total` is the current size of the bodies. If their bare structure alone is larger, it is kept without content.
    """
    for _ in range(_ROUNDS):
        if total <= max_bytes:
            return
        sizes = [(encoded_size(body[field]), body, field) for body in bodies for field in FIELDS if field in body]
        limit = level_of(sorted(size for size, _, _ in sizes), total - max_bytes, 0)
        for size, body, field in sizes:
            if size > limit:
                body[field] = _fitted(field, body[field], max(limit, MIN_FIELD), size)
        total = sum(len(orjson.dumps(body)) + 1 for body in bodies) + FRAME
    for body in bodies:
        for field in FIELDS:
            if field in body and encoded_size(body[field]) > len(_CUT):
                body[field] = {"cut": _CUT} if field in ("metadata", "model_parameters") else _CUT


def _fitted(field: str, value: Any, max_bytes: int, size: int, survey: Survey | None = None) -> Any:
    cut = shrink(value, max_bytes, digest=True, size=size, survey=survey)
    if field in ("metadata", "model_parameters") and type_of(cut) is not dict:
        return {"cut": cut}  # the server requires an object here
    return cut
