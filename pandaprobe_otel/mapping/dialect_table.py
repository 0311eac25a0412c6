"""Elements of a dialect: rows from attribute names to fields, and rules that determine a span's kind.

A dialect is data. A row names one field and the attributes that can fill it, in order of precedence. Across dialects,
the order of `shapes.DIALECTS` decides. The mapping and the generator of the page `docs/dialects.md` read these
rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from dataclasses import field as made
from typing import Any, Final, Literal, TypeAlias

from pandaprobe_otel.mapping.span_view import EventView, SpanView

Convert: TypeAlias = Callable[[Any], Any]
"""Value of an attribute -> value of the field, or None if it cannot be used."""

Form: TypeAlias = Literal["messages", "value"]
"""Form of content: a list of chat messages by definition, or any value, which may also contain messages."""


@dataclass(frozen=True, slots=True)
class Row:
    """One field and its sources.

    A source that ends in `.*` is a family (`llm.input_messages.*`): `convert` gets the attributes below that prefix as
    one tree of dicts. `late` content is used only if no dialect has other content.
    """

    field: str
    names: str | tuple[str, ...]
    convert: Convert | None = None
    note: str = ""
    form: Form = "value"
    late: bool = False

    @property
    def sources(self) -> tuple[str, ...]:
        """The names of the attributes."""
        return (self.names,) if isinstance(self.names, str) else self.names


def named(
    convert: Convert | None,
    sources: Mapping[str, str | tuple[str, ...]],
    note: str = "",
    *,
    form: Form = "value",
    late: bool = False,
) -> Iterator[Row]:
    """Yield rows of one converter, by their fields."""
    for name, source in sources.items():
        yield Row(name, source, convert, note, form, late)


@dataclass(frozen=True, slots=True)
class EventRow:
    """One field from span events or log records; `convert` gets the events with one of the names, in order."""

    field: str
    names: tuple[str, ...]
    convert: Callable[[list[EventView], SpanView], Any]
    note: str = ""
    form: Form = "messages"
    late: bool = False


@dataclass(frozen=True, slots=True)
class KindRule:
    """One rule for a span's kind.

    The value of `attribute` is looked up in `values` (case-insensitive), or passed to `decide` with the span. A rule
    without an attribute uses the span's name and scope. Rules with `states` come before all operation names.
    """

    attribute: str = ""
    values: Mapping[str, str] = made(default_factory=dict[str, str])
    decide: Callable[[Any, SpanView], str | None] | None = None
    states: bool = False
    note: str = ""

    def kind_of(self, value: Any, view: SpanView) -> str | None:
        """Return the kind that the value states, or None."""
        if self.decide is not None:
            return self.decide(value, view)
        return self.values.get(value) or self.values.get(value.strip().lower()) if isinstance(value, str) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """Vocabulary of one family of emitters."""

    name: str
    title: str
    rows: tuple[Row, ...] = ()
    events: tuple[EventRow, ...] = ()
    kinds: tuple[KindRule, ...] = ()
    namespaces: tuple[str, ...] = ()
    """Prefixes of attribute names that show that the span is about GenAI work."""
    scopes: tuple[str, ...] = ()
    """Prefixes of instrumentation scopes whose spans are about GenAI work, whatever their attributes."""
    defaults: Mapping[str, Any] = made(default_factory=dict[str, Any])
    """By attribute, settings that the emitter writes with each call although nobody has set them."""
    note: str = ""


MERGED_FIELDS: Final = frozenset({"metadata", "parameters", "tags", "trace.metadata", "usage.bag", "aggregated.bag"})
"""Fields to which every row contributes; for all other fields, the first usable value wins."""

GROUPS: Final = frozenset({"metadata", "parameters", "usage", "aggregated"})
"""Prefixes of fields that are collected in groups: `usage.prompt` is the counter `prompt` of the group `usage`."""

RANKED_FIELDS: Final = frozenset({"session_id", "user_id"})
"""Fields whose precedence applies to the whole trace: the best attribute of any span wins, not the first span's."""

CONTENT_FIELDS: Final = frozenset(
    {"input", "output", "system", "tool.input", "tool.output", "query", "documents", "embedding.input"}
)
"""Fields with content, which are read only if the span's kind needs them."""

FAILURES: Final = frozenset({"error_type", "error.flag", "error.own"})
"""Fields that mark a span as failed, whatever its status."""

OUTCOMES: Final = FAILURES | {"outcome"}
"""Fields that affect the outcome of a span."""

NAMES: Final = frozenset({"tool_name", "display_name", "rendered_name", "function_id"})
"""Fields that replace the span's own name or become part of it."""

NUMBERS: Final = frozenset({"usage.bag", "aggregated.bag", "cost"})
"""Fields with token counts and costs, besides the groups of single counters."""

FIRST_TOKENS: Final = frozenset({"first_token_ns", "first_token_after", "first_token_event"})
"""Fields with the time of the first token."""

CONTEXT_FIELDS: Final = frozenset(
    {
        "session_id", "user_id", "tags", "environment", "release",
        "trace.name", "trace.input", "trace.output", "trace.status", "trace.metadata",
    }
)  # fmt: skip
"""Fields with the context of a span. They are stamped on every span of a process, so they do not prove GenAI work."""


KINDS: Final = frozenset({"AGENT", "TOOL", "LLM", "RETRIEVER", "CHAIN", "EMBEDDING", "OTHER"})
MODEL_KINDS: Final = frozenset({"LLM", "EMBEDDING", "RETRIEVER"})
"""Kinds whose spans get `model`. The server's list of top models counts every span with a model."""
TALKING_KINDS: Final = frozenset({"LLM", "AGENT", "CHAIN"})
"""Kinds whose input and output can be the conversation of the whole trace."""


def other_kind(value: Any) -> str | None:
    """Return an emitter's name for a span kind if PandaProbe has no such kind: GUARDRAIL, parser, workflow."""
    word = value.strip().strip('"') if isinstance(value, str) else ""
    return word if word and word.upper() not in KINDS | {"SPAN", "GENERATION", "CHAT_MODEL", "UNKNOWN"} else None
