"""Converters from attribute values to field values. Each returns None for an absent or unusable value."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any, Final, cast

from pandaprobe_otel.mapping.exact_json import parser

type_of: Final = cast("Callable[[Any], type[Any]]", type)
"""`type` with one argument, and a signature that type checkers accept for values of unknown type."""


ABSENT_TEXTS: Final = frozenset({"", "None", "null", "<elided>", "<not specified>", "{}", "[]"})
"""Texts that emitters write for an absent value."""
_LONGEST_ABSENT: Final = max(map(len, ABSENT_TEXTS))

MAX_COUNT: Final = 2_147_483_647
"""Bound on token counts. The server casts them to int4; a larger one breaks all lists of the project (server 0.5.0)."""


def is_absent(value: Any) -> bool:
    """Return whether the value is None, empty, or a placeholder for an absent value."""
    if type_of(value) is str:
        return len(value) <= _LONGEST_ABSENT and value in ABSENT_TEXTS  # a search hashes the whole text
    return not value and (value is None or type_of(value) in _CONTAINERS)


_CONTAINERS: Final = frozenset({list, dict})


def one_of(*words: str) -> Callable[[Any], str | None]:
    """Return a converter that returns one of these words unchanged, and None for any other value."""
    return lambda value: value if value in words else None


def usable(value: Any) -> Any:
    """Return the value unchanged, or None if it is absent."""
    return None if is_absent(value) else value


def text(value: Any) -> str | None:
    """Return text trimmed, a number as text, and a single-element list as its element."""
    kind = type_of(value)
    if kind is str:
        trimmed = str.strip(value)
        return None if trimmed in ABSENT_TEXTS else trimmed
    if kind is list and len(value) == 1 and type_of(value[0]) is not list:
        return text(value[0])
    return str(value) if kind is int or kind is float else None


def word(value: Any) -> str:
    """Return the value if it is text, else "", for lookups that need text."""
    return value if type_of(value) is str else ""


def unquoted(value: Any) -> str | None:
    """Return text, decoded if it was encoded as JSON once more (`"\\"gpt-4\\""`)."""
    plain = text(value)
    if plain is not None and plain[0] == '"' == plain[-1]:
        return text(decoded(plain))
    return plain


def count(value: Any) -> int | None:
    """Return a token count, given as a non-negative whole number or as digits, limited to the server's maximum."""
    kind = type_of(value)
    if kind is int and 0 <= value <= MAX_COUNT:
        return int(value)
    if kind is str:
        value = value.strip()
        if not (value.isascii() and value.isdigit() and len(value) < 20):
            return None
        value = int(value)
    elif kind is float:
        if not math.isfinite(value) or value != int(value):
            return None
        value = int(value)
    elif kind is not int:
        return None
    return min(value, MAX_COUNT) if value >= 0 else None


def number(value: Any) -> float | int | None:
    """Return a finite number, given as a number or as text."""
    kind = type_of(value)
    if kind is int:
        return int(value)
    if kind is not float and kind is not str:
        return None
    try:
        amount = float(value)
    except ValueError:
        return None
    return amount if math.isfinite(amount) else None


_JSON_STARTS: Final = frozenset('[{"')


def decoded(value: Any) -> Any:
    """Parse text that is JSON (an object, a list or a quoted text); return any other value unchanged."""
    if type_of(value) is not str:
        return value
    try:
        start = value[0]
        if start not in _JSON_STARTS and not (start.isspace() and value.lstrip()[0] in _JSON_STARTS):
            return value
        return parser.get()(value)
    except IndexError:  # the text is empty
        return value
    except ValueError:
        return _decoded_all_the_same(value)


def _decoded_all_the_same(text: str) -> Any:
    """Parse the invalid JSON that Python's and JavaScript's encoders may write: NaN, and lone surrogates."""
    if not any(sign in text for sign in _NO_JSON):
        return text
    try:
        return json.loads(text, parse_constant=_nothing)
    except (ValueError, RecursionError):
        return text


def _nothing(_: str) -> None:
    """Return None in place of a constant that is not a number."""


_NO_JSON: Final = ("NaN", "Infinity", "\\ud", "\\uD")


def scalar(value: Any) -> Any:
    """Parse JSON text including numbers, booleans and null, for dialects that encode every value."""
    if type_of(value) is not str:
        return value
    try:
        return parser.get()(value)
    except ValueError:
        return value


def texts(value: Any) -> list[str] | None:
    """Return a list of texts, given as a list, as JSON text of a list, or as one text."""
    value = decoded(value)
    if type_of(value) is not list:
        value = [value]
    result = [item for item in map(text, value) if item is not None]
    return result or None


def comma_separated(value: Any) -> list[str] | None:
    """Return a list of texts, given as a list or as comma-separated text."""
    if type_of(value) is str:
        value = value.split(",")
    return texts(value)


def mapping(value: Any) -> dict[str, Any] | None:
    """Return a non-empty object, given as an object or as JSON text."""
    value = decoded(value)
    return value if type_of(value) is dict and value else None


def structure(value: Any) -> Any:
    """Return an object or list, given as such or as JSON text; None for any other text."""
    value = decoded(value)
    return value if type_of(value) in _CONTAINERS and value else None


def dicts(value: Any) -> list[dict[str, Any]]:
    """Return the objects of a list; empty for any other value."""
    return [item for item in value if type_of(item) is dict] if type_of(value) is list else []


def listed(value: Any) -> list[Any]:
    """Return a list unchanged, and any other value as the only item of one."""
    return value if type_of(value) is list else [value]


def inside(value: Any, *keys: str) -> dict[str, Any]:
    """Return the object at this place in objects or their JSON text; empty if there is none."""
    for key in keys:
        value = (mapping(value) or {}).get(key)
    return mapping(value) or {}


def first_of(source: dict[str, Any], *keys: str) -> Any:
    """Return the first value under these keys that is not None; None if there is none."""
    for key in keys:
        value = source.get(key)
        if value is not None:
            return value
    return None


# -- families of attributes, as trees of dicts (such as `llm.input_messages.3.message.role`) --------------------------


def items(tree: Any) -> list[dict[str, Any]]:
    """Return the objects in an indexed tree in numeric order; gaps and a start at 1 are allowed."""
    numbers = (
        [key for key in tree if key.isascii() and key.isdigit() and len(key) < 10] if type_of(tree) is dict else []
    )
    return dicts([tree[key] for key in sorted(numbers, key=int)])


def flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    """Return the leaves of a tree by their dotted names below the family's prefix."""
    leaves: dict[str, Any] = {}
    for key, item in tree.items():
        if type_of(item) is dict and item:
            leaves.update(flat(item, f"{prefix}{key}."))
        else:
            leaves[f"{prefix}{key}"] = item
    return leaves
