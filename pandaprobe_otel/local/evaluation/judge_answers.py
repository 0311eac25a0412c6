"""The JSON object requested from a model, and its answer."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, cast

if TYPE_CHECKING:
    from pydantic import BaseModel

_FENCE: Final = re.compile(r"\A```(?:json)?\s*(.*?)\s*```\Z", re.DOTALL)


def schema_of(structure: type[BaseModel]) -> dict[str, Any]:
    """Return the JSON Schema of an answer. All fields are required, because strict decoders need that."""
    schema: dict[str, Any] = _strict(structure.model_json_schema())
    return schema


def with_schema(prompt: str, schema: Mapping[str, Any]) -> str:
    """Return a prompt that contains the schema, for models without another way to receive it."""
    return f"{prompt}\n\nThe structure, as JSON Schema:\n{json.dumps(schema)}"


def object_in(content: str) -> Mapping[str, Any]:
    """Return the JSON object that a model wrote, with or without a code fence around it. Raises ValueError."""
    text = content.strip()
    if (fenced := _FENCE.match(text)) is not None:
        text = fenced.group(1)
    value = json.loads(text)
    if isinstance(value, dict):
        return cast("dict[str, Any]", value)
    raise ValueError("the answer is not a JSON object")


def _strict(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_strict(item) for item in cast("Sequence[Any]", schema)]
    if not isinstance(schema, dict):
        return schema
    # Bounds and defaults are checked after decoding, since some endpoints do not support them.
    items = cast("dict[str, Any]", schema).items()
    kept = {key: _strict(value) for key, value in items if key not in ("minimum", "maximum", "default")}
    if kept.get("type") == "object":
        kept["required"] = list(kept.get("properties", {}))
        kept["additionalProperties"] = False
    return kept
