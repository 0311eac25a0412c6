"""Members of requests and answers without an attribute: none is dropped silently.

Markers replace credentials, pictures and sound. Empty values are left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Set
from types import MappingProxyType
from typing import Any, Final, TypeVar

from pandaprobe_otel.mapping.attributes import MODEL_PARAMETERS, SPAN_METADATA
from pandaprobe_otel_integrations._json import Content, Object, integer, items, obj, string

from . import _parts as parts
from ._guard import guarded
from ._parts import Part

PARAMETERS: Final = MODEL_PARAMETERS
"""Attribute for all request parameters that have no attribute of their own."""
RESPONSE: Final = SPAN_METADATA
"""Attribute with an answer's data other than its messages, under `response`."""
Counts = Mapping[str, Set[str] | None]
"""Member of a usage to the names inside it that have attributes; None if an attribute has the whole member."""
WITHHELD: Final = "[a credential, not recorded]"

_CREDENTIALS: Final = re.compile(
    r"(?:^|[_-])(?:authorization|api[_-]?key|access_key|(?:access|ad|auth|authorization|bearer|session|id)_?token|secret|password|"
    r"credentials?|(?:extra_)?headers|secret_access_key)(?:$|[_-])|^(?:apiKey|accessToken|authorizationToken)$",
    re.IGNORECASE,
)
_SEALED: Final = frozenset({"encrypted_content", "encrypted_index", "encrypted_stdout"})
"""Members that only the service can read."""
_MAX_TEXT: Final = 2048
"""Length from which a text is checked for encoded bytes."""
_BASE64: Final = re.compile(r"[A-Za-z0-9+/_-]+={0,2}\s*")
_BASE64_START: Final = 256
_NONE_KNOWN: Final[Set[str]] = frozenset()
_DEEPEST: Final = 200
_PLAIN: Final = frozenset({int, float, bool})
_SENTINELS: Final = frozenset({"NotGiven", "Omit", "Unset"})
"""Types of the marks that client libraries use for an absent value."""


def rest(members: Object, known: Set[str]) -> dict[str, Any]:
    """Return the members that are neither `known` nor empty."""
    if members.keys() <= known:
        return {}
    return {
        str(name): found
        for name, value in members.items()
        if name not in known and not is_empty(value) and not is_empty(found := _safely_shown(value, str(name)))
    }


def _safely_shown(value: Any, name: str) -> Any:
    found = guarded(told, value, name)  # an error here must not lose the known members
    if found is None and type(value).__name__ not in _SENTINELS:
        return f"[{type(value).__name__} that cannot be read]"
    return found


def with_rest(part: Part, members: Object, known: Set[str]) -> Part:
    """Return a part or message with the members of its source that are not `known`, under their own names."""
    for name, value in rest(members, known).items():
        before = part.setdefault(name, value)
        if before is not value and isinstance(before, dict) and isinstance(value, dict):
            part[name] = {**value, **before}  # a choice has members of this name, and so has its message
    return part


def tool_part(declared: Object, kind: str, name: Any, schema: Any, *known: str) -> Part:
    """Return a tool that the model may call, with the schema of its arguments. `known` are the members read for it."""
    found: Part = {"type": kind, "name": string(name) or ""}
    if declared.get("description") is not None:
        found["description"] = declared["description"]
    if schema is not None:
        found["parameters"] = schema
    return with_rest(found, declared, {"name", "description", *known})


def turn(
    role: str, pieces: Iterable[Any], is_result: Callable[[Object], bool], read: Callable[[list[Any]], list[Part]]
) -> list[Part]:
    """Return the message of one turn. The tool results in a user's turn become a message before it."""
    results: list[Any] = []
    others: list[Any] = []
    for piece in pieces:
        (results if is_result(obj(piece)) else others).append(piece)
    found: list[Part] = [{"role": "tool", "parts": read(results)}] if results else []
    said = read(others)
    return [*found, {"role": role, "parts": said}] if said or not results else found


Reader = Callable[[Object], Part | None]
"""Returns a block of a message as a part; None for one that carries no information."""
_P = TypeVar("_P", Part, Part | None)


def reading(read: Callable[..., _P], *members: str, beside: Set[str] = frozenset({"type"})) -> Callable[[Object], _P]:
    """Return a reader of a block.

    It gives the values of `members` to `read`. All other members except `beside` stay with the part.
    """
    known = frozenset({*members, *beside})

    def reader(found: Object) -> _P:
        part = read(*map(found.get, members))
        if part is not None and not found.keys() <= known:
            with_rest(part, found, known)
        return part

    return reader


def pieces(
    readers: Mapping[str, Reader],
    texts: Set[str] = frozenset({"text"}),
    other: Callable[[str, Object], Part | None] = lambda kind, piece: told(dict(piece)) if piece else None,
    beside: Set[str] = frozenset(),
) -> Callable[[Any], list[Part]]:
    """Return a reader of content: a text, or a list of texts and typed pieces.

    `texts` are the types of pieces of text, and `other` reads pieces of other types than those of `readers`. `beside`
    are members of a text that need no record.
    """
    known = beside | {"type", "text"}

    def read_piece(piece: Any) -> Part | None:
        if isinstance(piece, str):
            return parts.text(piece)
        found = obj(piece)
        kind = string(found.get("type")) or ""
        if kind in texts:
            said = parts.text(str(found.get("text") or ""))
            return said if found.keys() <= known else with_rest(said, found, known)
        reader = readers.get(kind)
        return other(kind, found) if reader is None else reader(found)

    def read(content: Any) -> list[Part]:
        if isinstance(content, str):
            return [parts.text(content)] if content else []
        return [part for piece in items(content) if (part := read_piece(piece)) is not None]

    return read


def parameters(body: Object, known: Set[str], inner: Mapping[str, Set[str]] = MappingProxyType({})) -> Content:
    """Return the request parameters without an attribute.

    For a member in `inner`, only its unknown members are returned.
    """
    left = rest(body, known)
    for name, read in inner.items():
        if name in body and (more := rest(obj(body[name]), read)):
            left.update(more)
    return {PARAMETERS: left} if left else {}


def answer_data(**values: Any) -> Content:
    """Return values that accompany an answer, without empty ones, under their attribute."""
    found = {name: value for name, value in values.items() if not is_empty(value)}
    return {RESPONSE: {"response": found}} if found else {}


def uncounted(usage: Any, known: Counts) -> dict[str, Any]:
    """Return the counts of a usage other than the `known` ones, without zeros."""
    found: dict[str, Any] = {}
    for name, value in obj(usage).items():
        if not value:
            continue
        inner = known.get(name, _NONE_KNOWN)
        if inner is None:
            continue
        if inner:
            details = obj(value)
            if not any(map(details.get, details.keys() - inner)):
                continue  # the usual case
        if kept := _nonzero(value, inner):
            found[str(name)] = kept
    return found


def _nonzero(value: Any, known: Set[str] = frozenset()) -> Any:
    if isinstance(value, Mapping) or hasattr(value, "model_dump"):
        return {name: kept for name, one in obj(value).items() if name not in known and (kept := _nonzero(one))}
    if isinstance(value, (list, tuple)):
        return [kept for one in value if (kept := _nonzero(one))]  # pyright: ignore[reportUnknownVariableType]
    return told(value)


def is_empty(value: Any) -> bool:
    """Return whether a value carries no information."""
    return value is None or (not value and type(value) in _CONTAINERS)


_CONTAINERS: Final = frozenset({str, dict, list, tuple, bytes})


def told(value: Any, name: str = "", depth: int = 0) -> Any:
    """Return a value without credentials, with markers in place of bytes.

    Raises RecursionError for more than 200 levels.
    """
    kind = value.__class__
    if kind in _PLAIN or value is None:
        return value
    if name and _CREDENTIALS.search(name) is not None:
        return WITHHELD
    if kind is str:
        return _shown_text(value, name)
    if kind is dict:
        _check(depth)
        return {
            str(key): told(item, str(key), depth + 1)
            for key, item in value.items()
            if type(item).__name__ not in _SENTINELS
        }
    if isinstance(value, (list, tuple)):
        _check(depth)
        return [told(item, "", depth + 1) for item in value]  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, (bytes, bytearray)):
        return parts.blob(bytes(value), "data", None)
    if kind.__name__ in _SENTINELS:
        return None
    if isinstance(value, type):
        schema = getattr(value, "model_json_schema", None)  # a pydantic model class, as a schema for answers
        return schema() if callable(schema) else value.__name__  # pyright: ignore[reportUnknownVariableType]
    members = obj(value)
    return told(dict(members), "", depth) if members else value


def _check(depth: int) -> None:
    if depth > _DEEPEST:  # CPython 3.13 lets this function call itself 100 000 times
        raise RecursionError


def _shown_text(text: str, name: str) -> Any:
    if name in _SEALED:
        return sealed(text)
    if text.startswith("data:"):
        return parts.media(text, "data")
    if len(text) >= _MAX_TEXT and _BASE64.fullmatch(text, 0, _BASE64_START) and _BASE64.fullmatch(text):
        return parts.base64_blob(text, "data", None)
    return text


def sealed(text: str) -> str:
    """Return the marker of a text that only the service can read."""
    return f"[{len(text)} characters that only the service can read]"


_CONSTANT: Final = frozenset({"type", "name", "id", "role", "status"})
"""Texts that do not grow."""
_TEXTS: Final = frozenset({"text", "summary", "data", "content", "thinking"})
"""Texts that grow in items of a list."""


def joined(before: Any, piece: Any, name: str = "") -> Any:
    """Continue a value by the next piece of a stream: texts become longer, objects are continued member by member."""
    return grown(before, piece, lambda member: member not in _CONSTANT, name)


def grown(before: Any, piece: Any, grows: Callable[[str], bool] = lambda name: False, name: str = "") -> Any:
    """Merge two pieces of a value: lists and objects grow; for any other value, the later one counts.

    Texts grow if `grows` returns True for their name. An empty piece adds nothing. If the later list starts with the
    earlier list, only the later list is kept. List items with the same index are merged.
    """
    if piece.__class__ is dict and (before is None or isinstance(before, dict)):
        found = {**obj(before)}
        for member, value in obj(piece).items():
            if not is_empty(value):
                found[member] = grown(found.get(member), value, grows, member)
        return found
    if before is None or is_empty(piece):
        return piece if before is None else before
    if isinstance(before, list) and isinstance(piece, list):
        return _longer(before, piece)  # pyright: ignore[reportUnknownArgumentType]
    if isinstance(before, str) and isinstance(piece, str) and grows(name):
        return before + piece
    return piece


def _longer(before: list[Any], piece: list[Any]) -> list[Any]:
    if piece[: len(before)] == before:
        return piece
    longer = list(before)
    places = {place: at for at, one in enumerate(longer) if (place := _place(one)) is not None}
    for one in piece:
        place = _place(one)
        if place is None or place not in places:
            longer.append(one)
        else:
            longer[places[place]] = grown(longer[places[place]], one, _TEXTS.__contains__)
    return longer


def _place(item: Any) -> tuple[str, int] | None:
    members = obj(item)
    index = integer(members.get("index"))
    return (str(members.get("type")), index) if index is not None else None
