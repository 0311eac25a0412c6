"""Messages from parsed JSON, equal to those of `google.protobuf.json_format.ParseDict` with unknown fields ignored.

ParseDict sets each field separately and takes five times as long. Here, a table for each message type turns an object
into arguments, from which the library makes the whole message at once. The library still checks ranges and types.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from functools import cache
from typing import Any, Final, cast

from google.protobuf.descriptor import Descriptor, FieldDescriptor

_MOST_DEEP: Final = 100
"""Maximum number of nested messages, as in Protobuf's own parsers."""
_IDS: Final = {"trace_id": 16, "span_id": 8, "parent_span_id": 8}
"""Fields of bytes that are hexadecimal in OTLP's JSON, and their sizes."""
_INTEGERS: Final = frozenset(
    {
        FieldDescriptor.CPPTYPE_INT32,
        FieldDescriptor.CPPTYPE_INT64,
        FieldDescriptor.CPPTYPE_UINT32,
        FieldDescriptor.CPPTYPE_UINT64,
    }
)
_FLOATS: Final = frozenset({FieldDescriptor.CPPTYPE_FLOAT, FieldDescriptor.CPPTYPE_DOUBLE})

Read = Callable[[Any, int], Any]
"""Turns a JSON value at a depth into an argument, or raises an error of MISFITS. None: omit the field."""

MISFITS: Final = (ValueError, TypeError, OverflowError, RecursionError)


def message_of(kind: Any, fields: Any) -> Any:
    """Return the message of this type with these fields. The lists in them are emptied.

    Raises an error of MISFITS if they do not fit.
    """
    return kind(**_Table.of(kind.DESCRIPTOR).arguments(fields, 1))


class _Table:
    """Fields of a message type by their JSON names: the argument, its reader, and its oneof."""

    def __init__(self, descriptor: Descriptor) -> None:
        self._rules: dict[str, tuple[str, Read, str | None]] = {}
        for found in descriptor.fields:
            oneof = None if found.containing_oneof is None else found.containing_oneof.name
            rule = found.name, _reader(found), oneof
            self._rules[found.name] = self._rules[found.json_name] = rule

    @staticmethod
    @cache
    def of(descriptor: Descriptor) -> _Table:
        """Return the table of a message type."""
        return _Table(descriptor)

    def arguments(self, fields: Any, depth: int) -> dict[str, Any]:
        """Return the arguments for a message with these fields."""
        if type(fields) is not dict:
            raise TypeError(f"{str(fields)[:50]} is not an object")
        if depth > _MOST_DEEP:
            raise ValueError(f"it has more than {_MOST_DEEP} nested messages")
        arguments: dict[str, Any] = {}
        chosen: tuple[str, ...] = ()
        for name, value in cast("dict[str, Any]", fields).items():
            rule = self._rules.get(name)
            if rule is None or value is None:
                continue
            field, read, oneof = rule
            if oneof is not None:
                if oneof in chosen:
                    raise ValueError(f"{name} excludes another value that is also set")
                chosen += (oneof,)
            if (argument := read(value, depth)) is not None:
                arguments[field] = argument
        return arguments


def _reader(field: FieldDescriptor) -> Read:
    read = _single_reader(field)
    if not isinstance(field.default_value, list):  # Older and newer libraries share no attribute for repeated fields.
        return read

    def read_list(value: Any, depth: int) -> list[Any]:
        if type(value) is not list:
            raise TypeError(f"{field.name} is not a list")
        items: list[Any] = cast("Any", value)
        for index, item in enumerate(items):
            items[index] = read(item, depth)  # in place, so that the memory of parsed values is freed early
        return items

    return read_list


def _single_reader(field: FieldDescriptor) -> Read:
    kind = field.cpp_type
    if field.message_type is not None:
        return _message_reader(field.message_type)
    if kind in _INTEGERS:
        return _integer
    if kind in _FLOATS:
        return _float
    if kind == FieldDescriptor.CPPTYPE_BOOL:
        return _bool
    if field.enum_type is not None:
        return _enum_reader({name: value.number for name, value in field.enum_type.values_by_name.items()})
    if field.type == FieldDescriptor.TYPE_BYTES:
        return _id_reader(_IDS[field.name]) if field.name in _IDS else _bytes
    return _text


def _message_reader(descriptor: Descriptor) -> Read:
    table: _Table | None = None

    def read(value: Any, depth: int) -> dict[str, Any]:
        nonlocal table
        if table is None:  # Only on demand, since message types contain each other.
            table = _Table.of(descriptor)
        return table.arguments(value, depth + 1)

    return read


def _enum_reader(numbers: dict[str, int]) -> Read:
    def read(value: Any, depth: int) -> int | None:
        if type(value) is str:
            if value in numbers:
                return numbers[value]
            try:
                return int(value)
            except ValueError:
                return None  # A name of a later version is ignored like an unknown field.
        return int(value)

    return read


def _integer(value: Any, depth: int) -> int:
    if type(value) is int:
        return value
    if type(value) is float and value.is_integer():
        return int(value)
    if type(value) is not str or " " in value:
        raise ValueError(f"{str(value)[:50]!r} is not an integer")
    try:
        return int(value)
    except ValueError:
        number = float(value)
        if not number.is_integer():
            raise
        return int(number)


def _float(value: Any, depth: int) -> float:
    if value == "nan":
        raise ValueError("NaN must be a JSON string")
    return float(value)  # also for "NaN", "Infinity" and "-Infinity"


def _bool(value: Any, depth: int) -> bool:
    if type(value) is not bool:
        raise TypeError(f"{str(value)[:50]!r} is not true or false")
    return value


def _text(value: Any, depth: int) -> str:
    if type(value) is not str:
        raise TypeError(f"{str(value)[:50]!r} is not a string")
    return value


def _bytes(value: Any, depth: int) -> bytes:
    encoded = _text(value, depth).encode()
    return base64.urlsafe_b64decode(encoded + b"=" * (4 - len(encoded) % 4))


def _id_reader(size: int) -> Read:
    def read(value: Any, depth: int) -> bytes:
        if len(_text(value, depth)) not in (0, 2 * size):
            raise ValueError(f"{value[:50]!r} does not have {2 * size} hexadecimal digits")
        return bytes.fromhex(value)

    return read
