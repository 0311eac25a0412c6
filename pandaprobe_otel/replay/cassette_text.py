"""Writer of cassettes as YAML, ten times as fast as a general one because it supports only the values of a cassette.

Objects are blocks, each `Flow` is on its own line, and `Text` is a block of lines, so that bodies are easy to read.
"""

from __future__ import annotations

import json
import re
from base64 import encodebytes
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, cast

_WIDTH: Final = 110
_LONG: Final = 60
"""Length from which a text is a block, even if it has one line."""
_LONG_KEY: Final = 100
"""Length from which a key is marked explicitly, because YAML readers look only a limited way ahead."""
_PLAIN: Final = re.compile(
    r"[A-Za-z](?:[A-Za-z0-9_./>() -]*[A-Za-z0-9_./>()-])?|https?://[A-Za-z0-9_./:-]*[A-Za-z0-9_/-]"
)
_WORDS: Final = frozenset({"true", "false", "null", "yes", "no", "on", "off"})
"""Texts that would be read as other values without quotes."""
_UNSEEN: Final = re.compile(r"[^\t\n\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")
"""Characters that YAML forbids, changes or hides outside of quotes."""
_UNSEEN_ASCII: Final = re.compile(r"[^\t\n\x20-\x7e]")
"""`_UNSEEN` for ASCII texts, which takes a third of the time."""
_ESCAPED: Final = re.compile(r"[\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")
"""Characters that JSON does not escape, but YAML cannot read."""


class Flow(dict[str, Any]):
    """An object that is written on one line."""


class Text(str):
    """A text that is written as a block if it has several lines or is long."""

    __slots__ = ()


def yaml_of(document: Mapping[str, Any]) -> str:
    """Return the YAML of a document: objects, lists, texts, bytes, numbers, `Flow` and `Text`."""
    return "".join(_members(document, ""))


def _members(value: Mapping[str, Any], indent: str) -> Iterator[str]:
    for key, item in value.items():
        kind = type(item)  # pyright: ignore[reportUnknownVariableType]
        if kind is str:
            yield f"{indent}{_key(key)}: {_scalar(item)}\n"
        elif kind is list and len(item) == 1 and type(item[0]) is str:  # a header
            yield f"{indent}{_key(key)}: [{_scalar(item[0])}]\n"
        else:
            yield f"{indent}{_key(key)}:{_value(item, indent)}"


def _value(value: Any, indent: str) -> str:
    """Return a value as it is written after a colon, including the line end."""
    if isinstance(value, Text):
        return f" {_block(value, indent)}"
    if isinstance(value, bytes):
        text = encodebytes(value).decode()
        return f" !!binary |\n{_indented(text, indent)}" if text else ' !!binary ""\n'
    if isinstance(value, dict) and not isinstance(value, Flow) and value:
        return "\n" + "".join(_members(cast("dict[str, Any]", value), f"{indent}  "))
    items: Any = value if isinstance(value, list) else ()  # pyright: ignore[reportUnknownVariableType]
    if any(isinstance(item, dict) for item in items):
        return "\n" + "".join(_item(item, indent) for item in items)
    return f" {_filled(value, indent)}\n"


def _item(value: Any, indent: str) -> str:
    if isinstance(value, dict) and not isinstance(value, Flow) and value:
        members = "".join(_members(cast("dict[str, Any]", value), f"{indent}  "))
        return f"{indent}- {members[len(indent) + 2 :]}"
    return f"{indent}- {_filled(value, indent)}\n"


def _block(text: str, indent: str) -> str:
    lines = text.split("\n")
    if not (len(lines) > 1 or len(text) > _LONG) or not text.strip("\n") or _is_hidden(text, lines):
        return f"{_scalar(str(text))}\n"
    how = "|2" if text[0] in " \n\t" else "|"
    if not text.endswith("\n"):
        return f"{how}-\n{_indented(text, indent)}\n"
    return f"{how}{'+' if text.endswith(chr(10) * 2) else ''}\n{_indented(text, indent)}"


def _is_hidden(text: str, lines: Sequence[str]) -> bool:
    """Return whether a block would not show a text as it is."""
    unseen = _UNSEEN_ASCII if text.isascii() else _UNSEEN
    return unseen.search(text) is not None or any(line and not line.strip(" \t") for line in lines)


def _indented(text: str, indent: str) -> str:
    return "\n".join([f"{indent}  {line}" if line else "" for line in text.split("\n")])


def _filled(value: Any, indent: str) -> str:
    """Return a value in lines of the maximum length."""
    lines: list[str] = []
    line = ""
    for piece in _pieces(value):
        if line and len(line) + len(piece) > _WIDTH:
            lines.append(line)
            line = piece
        else:
            line = f"{line} {piece}" if line else piece
    lines.append(line)
    return f"\n{indent}    ".join(lines)


def _pieces(value: Any) -> list[str]:
    """Return a value in pieces, between which a line may break."""
    found: list[str] = []
    if isinstance(value, dict):
        for key, item in cast("dict[str, Any]", value).items():
            pieces = _pieces(item)
            pieces[0] = f"{_key(key)}: {pieces[0]}"
            pieces[-1] += ","
            found += pieces
        return _enclosed(found, "{", "}")
    if isinstance(value, (list, tuple)):
        items = cast("Sequence[Any]", value)
        if len(items) == 2 and isinstance(items[0], int) and isinstance(items[1], int):  # a chunk: there are many
            return [f"[{_scalar(items[0])}, {_scalar(items[1])}]"]
        for item in items:
            pieces = _pieces(item)
            pieces[-1] += ","
            found += pieces
        return _enclosed(found, "[", "]")
    return [_scalar(value)]


def _enclosed(pieces: list[str], begin: str, end: str) -> list[str]:
    if not pieces:
        return [begin + end]
    pieces[0] = begin + pieces[0]
    pieces[-1] = pieces[-1][:-1] + end
    return pieces


def _key(key: str) -> str:
    text = _scalar(str(key))
    return text if len(text) <= _LONG_KEY else f"? {text} "


def _scalar(value: Any) -> str:
    if isinstance(value, str):
        return _known_string(value) if len(value) <= _LONG_KEY else _string(value)
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, int):
        return str(value)
    raise TypeError(f"a cassette cannot contain a {type(value).__name__}")


def _string(text: str) -> str:
    if _PLAIN.fullmatch(text) and text.lower() not in _WORDS:
        return text
    quoted = json.dumps(text, ensure_ascii=False)
    return _ESCAPED.sub(lambda match: f"\\u{ord(match[0]):04x}", quoted) if _ESCAPED.search(quoted) else quoted


_known_string: Final = lru_cache(512)(_string)
"""Cached form of `_string`, for names and values of headers, places and keys, which every call repeats."""


def _number(value: float) -> str:
    text = repr(value)
    if text in ("inf", "-inf", "nan"):
        return text.replace("inf", ".inf").replace("nan", ".nan")
    return text if "." in text or "e" not in text else text.replace("e", ".0e")
