"""The fields of a JSON schema as a flat set of strings, which can be compared and kept in a file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Schema = Mapping[str, Any]


def shape_of(schema: Schema, definitions: Mapping[str, Schema]) -> set[str]:
    """Return the paths of all fields, such as `spans[].name`, and enumeration values: `spans[].kind=LLM`."""
    return set(_walk(schema, definitions, "", ()))


def _walk(schema: Schema, definitions: Mapping[str, Schema], path: str, inside: tuple[str, ...]) -> Iterator[str]:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        if name not in inside:
            yield from _walk(definitions[name], definitions, path, (*inside, name))
        return
    for branch in (*schema.get("anyOf", ()), *schema.get("allOf", ())):
        yield from _walk(branch, definitions, path, inside)
    for value in (*schema.get("enum", ()), *([schema["const"]] if "const" in schema else ())):
        yield f"{path}={value}"
    if isinstance(schema.get("items"), Mapping):
        yield from _walk(schema["items"], definitions, f"{path}[]", inside)
    for name, field in schema.get("properties", {}).items():
        inner = f"{path}.{name}" if path else name
        yield inner
        yield from _walk(field, definitions, inner, inside)
