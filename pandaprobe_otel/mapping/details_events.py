"""Content in events named `gen_ai.client.inference.operation.details`.

They have the same attributes as the span, but on span events or log records. Often one event has the input and another
the output. So they are merged into the span's attributes. If both have an attribute, the span's value is
used and the event's value is kept under the event's name.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Final

from pandaprobe_otel.mapping.exact_types import type_of
from pandaprobe_otel.mapping.span_view import SpanView
from pandaprobe_otel.mapping.values import decoded, is_absent

NAME: Final = "gen_ai.client.inference.operation.details"


def with_details(view: SpanView) -> SpanView:
    """Return the view with the attributes of its details events, or the view itself if it has none."""
    folded: dict[str, Any] = {}
    others: dict[str, list[Any]] = {}
    for event in view.events:
        if event.name == NAME:
            for key, value in event.attributes.items():
                if key in folded:
                    value = _both(key, folded[key], value, others)
                folded[key] = value
    if not folded:
        return view
    own = {key: value for key, value in view.attributes.items() if not is_absent(value)}
    for key, value in own.items():
        if key in folded and decoded(folded[key]) != decoded(value):
            others.setdefault(f"{NAME}:{key}", []).append(folded[key])
    return dataclasses.replace(view, attributes={**folded, **own, **others})


def _both(key: str, earlier: Any, later: Any, others: dict[str, list[Any]]) -> Any:
    """Return both values joined if they are lists. Else return the later one and add the earlier one to `others`."""
    first, second = decoded(earlier), decoded(later)
    if first == second:
        return later
    if type_of(first) is list and type_of(second) is list:
        return [*first, *second]
    others.setdefault(f"{NAME}:{key}", []).append(earlier)
    return later
