"""What a dialect is made of: rows from attribute names to fields, and rules that tell a span's kind.

A dialect is data. A row names one field and the attributes that can fill it, in order of precedence; across
dialects the order of `dialects.DIALECTS` decides. The same rows are read by the mapping and by the page
`docs/dialects.md`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

from pandaprobe_otel.mapping.view import EventView, SpanView

Convert: TypeAlias = Callable[[Any], Any]
"""Value of an attribute -> value of the field, None when it cannot be used."""

Form: TypeAlias = Literal["messages", "value"]
"""Whether content is a list of chat messages by definition, or any value (which may turn out to hold messages)."""


@dataclass(frozen=True, slots=True)
class Row:
    """One field and where it comes from.

    A source that ends in `.*` is a family (`llm.input_messages.*`): `convert` then gets the attributes below that
    prefix as one tree of dicts. `late` content is only looked at when no dialect has content that is not late.
    """

    field: str
    sources: tuple[str, ...]
    convert: Convert | None = None
    note: str = ""
    form: Form = "value"
    late: bool = False


@dataclass(frozen=True, slots=True)
class EventRow:
    """One field that comes from span events or log records; `convert` gets those with one of the names, in order."""

    field: str
    names: tuple[str, ...]
    convert: Callable[[list[EventView], SpanView], Any]
    note: str = ""
    form: Form = "messages"
    late: bool = False


@dataclass(frozen=True, slots=True)
class KindRule:
    """One way to tell a span's kind.

    With an `attribute`, its value is looked up in `values` (case-insensitive), or given to `decide` with the span; a
    rule without attribute looks at the span's name and scope. A rule that `states` the kind goes before all
    operation names.
    """

    attribute: str = ""
    values: Mapping[str, str] = field(default_factory=dict[str, str])
    decide: Callable[[Any, SpanView], str | None] | None = None
    states: bool = False
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """The vocabulary of one family of emitters."""

    name: str
    title: str
    rows: tuple[Row, ...] = ()
    events: tuple[EventRow, ...] = ()
    kinds: tuple[KindRule, ...] = ()
    namespaces: tuple[str, ...] = ()
    """Prefixes of attribute names whose presence shows that the span is about GenAI work."""
    scopes: tuple[str, ...] = ()
    """Prefixes of instrumentation scopes whose spans are about GenAI work, whatever attributes they have."""
    note: str = ""


MERGED_FIELDS: Final = frozenset({"metadata", "parameters", "tags", "trace.metadata", "usage.bag", "aggregated.bag"})
"""Fields to which every row contributes; of all other fields the first usable value wins."""

GROUPS: Final = frozenset({"metadata", "parameters", "usage", "aggregated"})
"""First parts of fields that are collected by themselves: `usage.prompt` is the counter `prompt` of the usage."""

RANKED_FIELDS: Final = frozenset({"session_id", "user_id"})
"""Fields whose precedence holds over the whole trace: the best attribute of any span wins, not the first span."""

CONTENT_FIELDS: Final = frozenset(
    {"input", "output", "system", "tool.input", "tool.output", "query", "documents", "embedding.input"}
)
"""Fields that hold what was said or done; read only when the span's kind asks for them."""

FAILURES: Final = frozenset({"error_type", "error.flag", "error.own"})
"""Fields that say that a span failed, whatever its status says."""

OUTCOMES: Final = FAILURES | {"outcome"}
"""Fields that say how a span ended."""

NAMES: Final = frozenset({"tool_name", "display_name", "rendered_name", "function_id"})
"""Fields that go before the span's own name, or into it."""

NUMBERS: Final = frozenset({"usage.bag", "aggregated.bag", "cost"})
"""Fields with token counts and costs, besides the groups of single counters."""

FIRST_TOKENS: Final = frozenset({"first_token_ns", "first_token_after", "first_token_event"})
"""Fields that say when the first token came."""

CONTEXT_FIELDS: Final = frozenset(
    {
        "session_id", "user_id", "tags", "environment", "release",
        "trace.name", "trace.input", "trace.output", "trace.status", "trace.metadata",
    }
)  # fmt: skip
"""Fields that say in what context a span ran: stamped on every span of a process, so no evidence of GenAI work."""
