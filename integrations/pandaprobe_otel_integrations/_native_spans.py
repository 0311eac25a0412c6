"""Spans that a library makes of its own model calls, and that are used: clients below them make no second one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from opentelemetry.context import Context
from opentelemetry.trace import get_current_span

from pandaprobe_otel.mapping.attributes import OPERATION_NAME

_MODEL_CALLS: Final = frozenset({"chat", "embeddings", "generate_content", "text_completion"})
_OPENINFERENCE_MODEL: Final = "llm.model_name"
"""On OpenInference's spans of model calls alone, from their start; their kind is written at the end."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Adoption:
    """The spans of one instrumentation scope are used, until `undo`, and while `is_on` says so."""

    scope: str
    is_on: Callable[[], bool]

    def undo(self) -> None:
        """Clients below such spans record their calls again."""
        _adopted.remove(self)


_adopted: list[Adoption] = []


def adopt(scope: str, *, is_on: Callable[[], bool]) -> Adoption:
    """Use the spans of this scope: while one of a model call is current, it is the span of that call."""
    adoption = Adoption(scope=scope, is_on=is_on)
    _adopted.append(adoption)
    return adoption


def is_natively_recorded(context: Context) -> bool:
    """Return whether the current span of `context` is an open one that a library has made of the model call itself."""
    if not _adopted:
        return False
    span: Any = get_current_span(context)
    scope = scope_of(span)
    if not any(each.scope == scope and each.is_on() for each in _adopted):
        return False
    return span.is_recording() and _is_model_call(span.attributes)


def scope_of(span: Any) -> str | None:
    """Return the name of the instrumentation scope that has made a span; None for one that is not recorded."""
    return getattr(getattr(span, "instrumentation_scope", None), "name", None)


def _is_model_call(attributes: Mapping[str, Any]) -> bool:
    return attributes.get(OPERATION_NAME) in _MODEL_CALLS or _OPENINFERENCE_MODEL in attributes
