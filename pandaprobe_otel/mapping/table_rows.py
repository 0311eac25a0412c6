"""Table rows for which a shape of spans has attributes, and the filling of fields from them.

The results for low-cardinality attributes (operation, provider, model, model parameters, tool) are cached. A program
has a few models and a few hundred tools and steps at most, so these attributes have few combinations of values. The
tables are applied once per combination, which saves a fifteenth of the cost of a model call (benchmarks/mapping). The
cache is bounded and holds only numbers and short texts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from pandaprobe_otel.mapping.dialect_table import EventRow
from pandaprobe_otel.mapping.exact_json import may_be_rounded
from pandaprobe_otel.mapping.exact_types import type_of
from pandaprobe_otel.mapping.unread_attributes import left_out
from pandaprobe_otel.mapping.values import is_absent

Members: TypeAlias = tuple[tuple[str, tuple[str, ...]], ...]
"""Attributes of a family, each with the segments of its name after the family's prefix."""

Source: TypeAlias = str | Members | EventRow
"""Name of an attribute, members of a family, or a row of events."""

AnsweredRow: TypeAlias = tuple[str, Source, Callable[[Any], Any]]
"""(name, source, converter)."""

Rows: TypeAlias = tuple[AnsweredRow, ...]
"""Rows in order of precedence; the first usable value for a name wins."""


def fill(found: dict[str, Any], rows: Rows, attributes: Mapping[str, Any], unusable: list[str]) -> None:
    """Set each unset name to the first usable value of its rows; add unusable attributes to `unusable`."""
    for name, source, convert in rows:
        if name not in found:
            value = convert(attributes[source] if type(source) is str else tree(attributes, source))
            if value is not None:
                found[name] = value
            elif type(source) is str and _says_more(source, attributes[source]):
                unusable.append(source)


def _says_more(source: str, value: Any) -> bool:
    """Return whether an unused attribute is kept; False if its name is left out, or its value is absent or default."""
    return left_out(source) is None and not is_absent(value) and not (source == _CHOICES and value == 1)


_CHOICES: Final = "gen_ai.request.choice.count"


def tree(attributes: Mapping[str, Any], members: Any) -> dict[str, Any]:
    """Return the members of a family as a tree of dicts, by the segments of their names."""
    root: dict[str, Any] = {}
    for key, path in members:
        node: dict[str, Any] = root
        for segment in path[:-1]:
            if type(node.get(segment)) is not dict:
                node[segment] = {}
            node = node[segment]
        node[path[-1]] = attributes[key]
    return root


# -- cached results ---------------------------------------------------------------------------------------------------

ATTRIBUTES: Final = frozenset(
    {
        "gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.system", "gen_ai.request.model",
        "gen_ai.response.model", "gen_ai.agent.name", "gen_ai.tool.name", "gen_ai.tool.type", "gen_ai.output.type",
        "openinference.span.kind", "llm.model_name", "llm.system", "llm.provider", "tool.name", "agent.name",
        "traceloop.span.kind", "llm.request.type", "gen_ai.request.temperature", "gen_ai.request.top_p",
        "gen_ai.request.top_k", "gen_ai.request.max_tokens", "gen_ai.request.frequency_penalty",
        "gen_ai.request.presence_penalty", "gen_ai.request.choice.count", "gen_ai.request.seed",
        "llm.temperature", "llm.top_p", "llm.top_k",
        "llm.frequency_penalty", "llm.presence_penalty",
    }
)  # fmt: skip
"""Attributes with few different values in one program."""

MAX_COMBINATIONS: Final = 4096
"""Bound on the combinations of all shapes together, each of which takes 1 to 3 KB."""
_MAX_TEXT: Final = 256
_NUMBERS: Final = frozenset({int, float, bool})


CachedFields: TypeAlias = tuple[str | None, Mapping[str, Any], Mapping[str, Any], Mapping[str, Any], Sequence[str]]
"""Result of the tables for the values of low-cardinality attributes: (kind, fields, metadata, parameters, unusable).

The kind is None if these attributes alone do not determine it; `unusable` names the attributes that no row could use.
Must not be changed. A plain tuple, because taking a NamedTuple apart takes four times as long, for every span.
"""

NOTHING: Final[CachedFields] = (None, {}, {}, {}, ())
"""Result for a span without low-cardinality attributes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CachedRows:
    """Rows of a shape that read only low-cardinality attributes, with a cache of their results."""

    values: Callable[[Mapping[str, Any]], tuple[Any, ...]] | None
    """Function that returns the values of the shape's low-cardinality attributes; None if it has none."""
    fields: Rows
    metadata: Rows
    parameters: Rows
    kind_attribute: str | None
    """Attribute that decides the kind first, by its value (see `kinds`); None if an uncached one may decide it."""
    kinds: Mapping[str, str]
    key: object = field(default_factory=object, compare=False)
    """Key of the shape's results. The shape fixes the types of values; otherwise 1, 1.0 and True would be one key."""

    def read(self, attributes: Mapping[str, Any]) -> CachedFields:
        """Return the result of the rows for these attributes, and remember it if their values are short."""
        found: dict[str, Any] = {}
        metadata: dict[str, Any] = {}
        parameters: dict[str, Any] = {}
        unusable: list[str] = []
        fill(found, self.fields, attributes, unusable)
        fill(metadata, self.metadata, attributes, unusable)
        fill(parameters, self.parameters, attributes, unusable)
        said: Any = attributes[self.kind_attribute] if self.kind_attribute is not None else None
        kind = self.kinds.get(said) or self.kinds.get(said.strip().lower()) if type_of(said) is str else None
        cached = kind, found, metadata, parameters, unusable
        values = self.values(attributes) if self.values is not None else ()
        if all(map(_is_short, values)):
            if len(known) >= MAX_COMBINATIONS:
                known.clear()
            known[self.key, values] = cached
        return cached


known: Final[dict[tuple[object, tuple[Any, ...]], CachedFields]] = {}
"""Results by the keys of shapes and by values."""


def _is_short(value: Any) -> bool:
    kind = type_of(value)
    return kind in _NUMBERS or (kind is str and len(value) <= _MAX_TEXT and not may_be_rounded(value))
