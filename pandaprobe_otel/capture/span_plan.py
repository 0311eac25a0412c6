"""Facts about a span before it starts: its name, its kind, and the attributes that all such spans share."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, Final

from opentelemetry.util.types import AttributeValue

from pandaprobe_otel.capture.content import encode
from pandaprobe_otel.capture.trace_context import TraceValues, first_items
from pandaprobe_otel.mapping import attributes as names

KINDS: Final = frozenset({"AGENT", "TOOL", "LLM", "RETRIEVER", "CHAIN", "EMBEDDING", "OTHER"})

# OpenTelemetry GenAI semantic conventions. They have no operation that fits every chain.
_OPERATIONS: Final = {
    "AGENT": "invoke_agent",
    "TOOL": "execute_tool",
    "LLM": "chat",
    "RETRIEVER": "retrieval",
    "EMBEDDING": "embeddings",
}
_NAME_ATTRIBUTES: Final = {"AGENT": names.AGENT_NAME, "TOOL": names.TOOL_NAME}


def kind_of(kind: object) -> str:
    """Return the PandaProbe kind for a text or enum member; OTHER, with a warning, if it is unknown."""
    text = str(kind).upper()
    if text in KINDS:
        return text
    logging.getLogger("pandaprobe_otel").warning("The span kind %r is unknown; OTHER is used.", text[:40])
    return "OTHER"


@dataclass(slots=True, eq=False)
class SpanPlan:
    """Span to be made, perhaps many times. `values` are its session, user, tags and metadata."""

    name: str
    _: KW_ONLY
    kind: str
    is_trace: bool = False
    model: str | None = None
    metadata: Mapping[str, Any] | None = None
    values: TraceValues | None = None
    function: str | None = None
    attributes: dict[str, AttributeValue] = field(init=False, default_factory=dict[str, AttributeValue])
    """Attributes that every such span starts with, shared by all; empty until `make_attributes` is called."""

    def __post_init__(self) -> None:
        self.metadata = None if self.metadata is None else first_items(self.metadata)

    def make_attributes(self) -> dict[str, AttributeValue]:
        """Fill `attributes` and return them. Not done at the start, because decorated libraries may run untraced."""
        made: dict[str, AttributeValue] = {names.KIND: self.kind}
        if (operation := _OPERATIONS.get(self.kind)) is not None:
            made[names.OPERATION_NAME] = operation
        if (name_attribute := _NAME_ATTRIBUTES.get(self.kind)) is not None:
            made[name_attribute] = self.name
        if self.function is not None:
            made[names.FUNCTION_NAME] = self.function
        if self.model is not None:
            made[names.MODEL] = made[names.REQUEST_MODEL] = str(self.model)
        if self.metadata:
            made[names.SPAN_METADATA] = encode(self.metadata)
        self.attributes = made
        return made
