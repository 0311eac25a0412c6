"""The site's `dialects.md`: every attribute that the mapping reads, from the tables that it reads."""

from __future__ import annotations

from typing import Final

from docs_pages.markdown import table
from pandaprobe_otel.mapping.dialect_table import MERGED_FIELDS, RANKED_FIELDS, Dialect, EventRow, Row
from pandaprobe_otel.mapping.precedence import DIALECTS

_INTRODUCTION: Final = """\
# Dialects

Instrumentations write the same facts under different names. This page lists, for each field of a PandaProbe trace,
every attribute that can fill it, best first. It is generated from the tables that the mapping reads; to change it,
change a table in `pandaprobe_otel/mapping/dialects/` and run `python scripts/write_docs.py`.

How to read it:

- The first attribute of a field that has a value fills it. Empty texts, `null`, `{}`, `[]` and placeholders such as
  `<elided>` are not values.
- `name.*` is every attribute below that prefix, read as one tree.
- *Last resort* sources are used only if no other source of the field has a value: they hold whole requests,
  responses or arguments rather than messages.
- *Merged*: all attributes contribute, and the first one wins if two have the same key. *Ranked*: the best attribute of
  any span of the trace wins; among equals, the root's.
- Fields of kinds (`tool.`, `embedding.`, `query`, `documents`) come before `input` and `output` in spans of this kind.
- Attributes may hold JSON text or the value itself; both are read.
- Attributes that no row reads are kept under `metadata.attributes`, whether they are yours or belong to a vocabulary
  below. [Exceptions](recorded.md) are listed.
"""
_KINDS: Final = """\
## Kinds

The first rule that gives a kind decides. OpenTelemetry's own span kind, HTTP attributes and token counts are not used.
If no rule gives one, these attributes of the span decide, in this order: those of embeddings, those of retrieval, a
model's name, indexed prompts, the name of a vector database. All other spans are OTHER.
"""


def page() -> str:
    """Return the text of the page."""
    known = [
        (
            dialect.title,
            ", ".join([*(f"scope `{scope}`" for scope in dialect.scopes), *_codes(dialect.namespaces)]),
            dialect.note,
        )
        for dialect in DIALECTS
    ]
    rules = sorted(
        (rule for dialect in DIALECTS for rule in dialect.kinds), key=lambda rule: (not rule.states, not rule.attribute)
    )
    kinds = [
        (
            f"`{rule.attribute}`" if rule.attribute else "name and scope",
            "; ".join([*(f"`{value}`: {kind}" for value, kind in rule.values.items()), rule.note]).strip("; "),
        )
        for rule in rules
    ]
    parts = [_INTRODUCTION, "## Order\n", table(("dialect", "known by", "note"), known), "", _KINDS]
    return "\n".join([*parts, table(("attribute", "kinds"), kinds), "", "## Fields\n", _fields()]) + "\n"


def _fields() -> str:
    """Return the table of all fields, with their attributes from the best one to the last resort."""
    found: list[tuple[Row | EventRow, Dialect]] = []
    for dialect in DIALECTS:
        found += [(row, dialect) for row in dialect.rows]
        found += [(event, dialect) for event in dialect.events]
    rows: list[tuple[str, str, str, str]] = []
    for field in dict.fromkeys(row.field for row, _ in found):
        how = " (merged)" if field in MERGED_FIELDS else " (ranked)" if field in RANKED_FIELDS else ""
        for row, dialect in sorted((each for each in found if each[0].field == field), key=lambda each: each[0].late):
            names = row.names if isinstance(row, EventRow) else row.sources
            note = "; ".join(filter(None, ("*last resort*" if row.late else "", row.note)))
            event = "event " if isinstance(row, EventRow) else ""
            rows.append((f"`{field}`{how}", event + ", ".join(_codes(names)), dialect.title, note))
            how = ""
    return table(("field", "attributes", "dialect", "note"), rows)


def _codes(names: tuple[str, ...]) -> list[str]:
    return [f"`{name}`" for name in names]
