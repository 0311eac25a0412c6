"""The site's `dialects.md`: every attribute that the mapping reads, from the tables that it reads."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from pandaprobe_otel.mapping.dialect_table import MERGED_FIELDS, RANKED_FIELDS, Dialect, EventRow, KindRule, Row
from pandaprobe_otel.mapping.precedence import DIALECTS

_INTRODUCTION: Final = """\
# Dialects

Instrumentations write the same facts under different names. This page lists, for each field of a PandaProbe trace,
every attribute that can fill it, best first. It is generated from the tables that the mapping reads; to change it,
change a table in `pandaprobe_otel/mapping/dialects/` and run `python scripts/write_docs.py`.

How to read it:

- The first attribute in a table that has a value fills the field. Empty texts, `null`, `{}`, `[]` and placeholders
  such as `<elided>` are not values.
- `name.*` is every attribute below that prefix, read as one tree.
- *Last resort* sources are used only if no other source of the table has a value: they hold whole requests,
  responses or arguments rather than messages.
- Attributes may hold JSON text or the value itself; both are read.
- Attributes that no row reads are kept under `metadata.attributes`, whether they are yours or belong to a vocabulary
  below. [Exceptions](recorded.md) are listed.
"""

_FIELDS: Final = """\
## Content
input: `input` of LLM, AGENT, CHAIN and OTHER spans
output: `output` of LLM, AGENT, CHAIN and OTHER spans
system: System message in front of the input
tool.input: `input` of TOOL spans; after these, the sources of `input`
tool.output: `output` of TOOL spans; after these, the sources of `output`
query: `input` of RETRIEVER spans; after these, the sources of `input`
documents: `output` of RETRIEVER spans; after these, the sources of `output`
embedding.input: `input` of EMBEDDING spans; vectors are never sent
## Name and model
tool_name: `name` of TOOL spans
display_name: `name` of other spans, before the span's own
rendered_name: `name` after that: a template with its values, so it is content (see `capture`)
function_id: `name`: the part before the operation
operation_id: `name`: the operation after a function id
model: `model` of LLM, EMBEDDING and RETRIEVER spans, `metadata.model` of others
## Tokens and cost
usage.prompt: `token_usage.prompt_tokens`
usage.completion: `token_usage.completion_tokens`
usage.total: `token_usage.total_tokens`, if it is not the sum of the two
usage.cache_read: `token_usage.cache_read_tokens`
usage.cache_write: `token_usage.cache_creation_tokens`
usage.reasoning: `token_usage.reasoning_tokens`
usage.audio: `token_usage.audio_tokens`
usage.bag: All counts in one value
aggregated.prompt: Sum of prompt tokens
aggregated.completion: Sum of completion tokens
aggregated.cache_read: Sum of cached tokens read
aggregated.cache_write: Sum of cached tokens written
aggregated.reasoning: Sum of reasoning tokens
aggregated.bag: All sums in one value
cost: `cost`, in US dollars
cached: Answer from a cache, whose tokens and cost do not count
## Outcome and times
error.own: `error`, before an exception event's message
error.text: `error`, after an exception event's message and the status description
error_type: `error`, if there is no text; makes the status ERROR
error.flag: Makes the status ERROR
outcome: Leaves the status UNSET; `metadata.outcome`
first_token_ns: `completion_start_time`
first_token_after: `completion_start_time`, as time since the start
first_token_event: `completion_start_time`, from an event
## Trace
trace.name: Trace `name`; else the root span's name
trace.input: Trace `input`; else the root span's input (of messages, the user's last)
trace.output: Trace `output`; else the root span's output (of messages, the assistant's last)
trace.status: Trace `status`; else the root span's
session_id: `session_id`
user_id: `user_id`
tags: `tags`
root_tags: `tags`, from the root span only
environment: `environment`; else the resource's `deployment.environment.name`
release: `release`; else the resource's `service.version`
trace.metadata: Trace `metadata`
"""
"""The groups of fields, with their titles; each becomes a heading with a table."""
_KIND_INTRODUCTION: Final = """\
## Kinds

The first rule that gives a kind decides. OpenTelemetry's own span kind, HTTP attributes and token counts are not used.
If no rule gives one, these attributes of the span decide, in this order: those of embeddings, those of retrieval, a
model's name, indexed prompts, the name of a vector database. All other spans are OTHER.

| | Attribute | Kinds |
|---|---|---|
"""


def page() -> str:
    """Return the text of the page."""
    parts = [_INTRODUCTION, _dialects(), _kinds()]
    listed: set[str] = set()
    for group in _FIELDS.split("## ")[1:]:
        title, *lines = group.splitlines()
        fields = dict(line.split(": ", 1) for line in lines)
        parts.append(f"## {title}\n\n" + "\n".join(_field(field, label) for field, label in fields.items()))
        listed.update(fields)
    parts.extend([_collected("parameters", "Model parameters"), _collected("metadata", "Metadata"), _others(listed)])
    return "\n".join(part for part in parts if part)


def _dialects() -> str:
    lines = ["## Order\n", "| | Dialect | Known by | Note |", "|---|---|---|---|"]
    for position, dialect in enumerate(DIALECTS, 1):
        scopes = [f"scope `{scope}`" for scope in dialect.scopes]
        signs = ", ".join([*scopes, *(_code(name) for name in dialect.namespaces)]) or "-"
        lines.append(f"| {position} | {dialect.title} | {signs} | {dialect.note} |")
    return "\n".join(lines) + "\n"


def _kinds() -> str:
    rules = [rule for dialect in DIALECTS for rule in dialect.kinds]
    ordered = sorted(rules, key=lambda rule: (not rule.states, not rule.attribute))
    lines = [
        f"| {position} | {_code(rule.attribute) if rule.attribute else 'name and scope'} | {_answers(rule)} |"
        for position, rule in enumerate(ordered, 1)
    ]
    return _KIND_INTRODUCTION + "\n".join(lines) + "\n"


def _answers(rule: KindRule) -> str:
    values: dict[str, list[str]] = {}
    for value, kind in rule.values.items():
        values.setdefault(kind, []).append(value)
    told = [f"{kind}: {', '.join(map(_code, names))}" for kind, names in values.items()]
    return "; ".join([*told, rule.note] if rule.note else told)


def _field(field: str, label: str) -> str:
    lines = list(_sources(field))
    if not lines:
        return ""
    how = ""
    if field in MERGED_FIELDS:
        how = "All attributes contribute; the first one wins if two have the same key.\n\n"
    elif field in RANKED_FIELDS:
        how = "The best attribute of any span of the trace wins; among equals, the root's.\n\n"
    return f"### {label}\n\n{how}| Attribute | Dialect | Note |\n|---|---|---|\n" + "\n".join(lines) + "\n"


def _collected(group: str, title: str) -> str:
    """Return one table for all fields of a group, with one line each."""
    fields = sorted({row.field for _, row in _rows() if row.field.startswith(f"{group}.")})
    whole = _field(group, f"`{'model_parameters' if group == 'parameters' else group}`, several at once")
    lines = [f"## {title}\n", whole, "| Name | Attributes, best first | Note |", "|---|---|---|"]
    for field in fields:
        rows = [row for _, row in _rows() if row.field == field]
        sources = ", ".join(_code(name) for row in rows for name in _names(row))
        notes = "; ".join(dict.fromkeys(row.note for row in rows if row.note))
        lines.append(f"| {_code(field.removeprefix(f'{group}.'))} | {sources} | {notes} |")
    return "\n".join(lines) + "\n"


def _others(listed: set[str]) -> str:
    """Return tables for the fields without a heading; empty unless a dialect adds such a field."""
    fields = dict.fromkeys(row.field for _, row in _rows())
    rest = [name for name in fields if name not in listed and name.partition(".")[0] not in ("metadata", "parameters")]
    return "## Other\n\n" + "\n".join(_field(field, _code(field)) for field in rest) if rest else ""


def _sources(field: str) -> Iterator[str]:
    """Yield the lines of a field's table, best source first."""
    rows = [(dialect, row) for dialect, row in _rows() if row.field == field]
    for dialect, row in sorted(rows, key=lambda pair: pair[1].late):
        note = "; ".join(filter(None, ("*last resort*" if row.late else "", row.note)))
        what = "event " if isinstance(row, EventRow) else ""
        for name in _names(row):
            yield f"| {what}{_code(name)} | {dialect.title} | {note} |"


def _rows() -> Iterator[tuple[Dialect, Row | EventRow]]:
    for dialect in DIALECTS:
        for row in dialect.rows:
            yield dialect, row
        for event in dialect.events:
            yield dialect, event


def _names(row: Row | EventRow) -> tuple[str, ...]:
    return row.names if isinstance(row, EventRow) else row.sources


def _code(text: str) -> str:
    return f"`{text}`"
