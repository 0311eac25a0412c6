"""Use of spans that a library makes of its own model calls. The clients below make no second span."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from opentelemetry.context import Context
from opentelemetry.trace import get_current_span

from pandaprobe_otel.mapping.attributes import OPERATION_NAME

_MODEL_CALLS: Final = frozenset({"chat", "embeddings", "generate_content", "text_completion"})
_OPENINFERENCE_MODEL: Final = "llm.model_name"
"""Attribute of OpenInference's spans of model calls, set at their start; their kind is set only at the end."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Adoption:
    """The use of the spans of one instrumentation scope, until `undo`, and while `is_on` returns True."""

    scope: str
    is_on: Callable[[], bool]

    def undo(self) -> None:
        """Stop using the spans: clients below them record their calls again."""
        _adopted.remove(self)


_adopted: list[Adoption] = []


def adopt(scope: str, *, is_on: Callable[[], bool]) -> Adoption:
    """Use the spans of this scope: while the span of a model call is current, it is the only span of that call."""
    adoption = Adoption(scope=scope, is_on=is_on)
    _adopted.append(adoption)
    return adoption


def is_natively_recorded(context: Context) -> bool:
    """Return whether the current span of `context` is an open span that a library made for the model call."""
    if not _adopted:
        return False
    span: Any = get_current_span(context)
    scope = scope_of(span)
    if not any(each.scope == scope and each.is_on() for each in _adopted):
        return False
    return span.is_recording() and _is_model_call(span.attributes)


def scope_of(span: Any) -> str | None:
    """Return the name of the instrumentation scope of a span; None for a span that is not recorded."""
    return getattr(getattr(span, "instrumentation_scope", None), "name", None)


def _is_model_call(attributes: Mapping[str, Any]) -> bool:
    return attributes.get(OPERATION_NAME) in _MODEL_CALLS or _OPENINFERENCE_MODEL in attributes
