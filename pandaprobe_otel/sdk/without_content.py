"""Views of spans without the attributes that hold content, because reading content takes time."""

from __future__ import annotations

import dataclasses
from typing import Any, Final

from pandaprobe_otel.mapping.exact_types import type_of
from pandaprobe_otel.mapping.span_view import SpanView

_NUMBERS: Final = frozenset({int, float, bool})
_MAX_TEXT: Final = 1024
"""Longest text that is kept. Names and usage objects are shorter; messages are longer or not needed here."""


def without_content(view: SpanView) -> SpanView:
    """Return the view with numbers, short texts and events only."""
    kept = {name: value for name, value in view.attributes.items() if _is_short(value)}
    return view if len(kept) == len(view.attributes) else dataclasses.replace(view, attributes=kept)


def _is_short(value: Any) -> bool:
    kind = type_of(value)
    return kind in _NUMBERS or (kind is str and len(value) <= _MAX_TEXT)
