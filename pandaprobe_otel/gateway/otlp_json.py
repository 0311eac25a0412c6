"""Requests in JSON, as OpenTelemetry's own messages.

OTLP's JSON is that of Protobuf except for ids, which are hexadecimal; unknown fields are ignored (specification 1.5,
"JSON Protobuf Encoding"). Messages are made as by `google.protobuf.json_format.ParseDict`, which sets each field
separately and takes ten times as long. Here, an object becomes the arguments from which the library makes the whole
message at once, and checks their ranges and types.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Any, Final, cast

import orjson
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span

from pandaprobe_otel.gateway.otlp_spans import Found, SpanReader
from pandaprobe_otel.gateway.refusals import (
    BEYOND,
    JSON_BYTES_A_VALUE,
    JSON_VALUES,
    MOST_FRAMES,
    UNREADABLE,
    Allowance,
    RefusedError,
    Rejected,
    too_many,
    unreadable,
)
from pandaprobe_otel.mapping.values import type_of

_WEIGHTS: Final = {b"{": 3, b"[": 1, b",": 1}
_NEXT: Final = re.compile(rb'(?:[^"{\[,]++|"(?:[^"\\]++|\\.)*+(?:"|\\?\Z))*+([{\[,]|\Z)', re.DOTALL)
"""Matches up to the next `{`, `[` or `,` outside a string. Nothing is tried twice, so the time per byte is constant."""
_MOST_DEEP: Final = 100
"""Maximum number of nested messages, as in Protobuf's own parsers."""
_IDS: Final = {"trace_id": 16, "span_id": 8, "parent_span_id": 8}
"""Fields of bytes that are hexadecimal in OTLP's JSON, and their sizes."""
MISFITS: Final = (ValueError, TypeError, OverflowError, RecursionError)

_Read = Callable[[Any, int], Any]
"""Turns a JSON value at a depth into an argument, or raises an error of MISFITS. None: omit the field."""


def read_json(body: bytes | bytearray, allowance: Allowance) -> Iterator[Found]:
    """Read a request span by span. Raises RefusedError before the first span if the body is malformed or too large."""
    _weigh(body)
    try:
        request = _parsed(body)
    except (ValueError, RecursionError) as error:
        raise _malformed(str(error)) from error
    left = MOST_FRAMES

    def inner(fields: Any, name: str, snake: str) -> list[Any]:
        """Take the list `name` out of an object, and count its items."""
        nonlocal left
        if type(fields) is not dict:
            raise _malformed(f"what should contain {name} is not an object")
        members = cast("dict[str, Any]", fields)
        if snake in members:
            raise _malformed(f"names must be in lowerCamelCase: {name}, not {snake}")
        given: Any = members.pop(name, None)
        if given is None:
            return []
        if type_of(given) is not list:
            raise _malformed(f"{name} is not a list")
        items: list[Any] = given
        left -= len(items)
        if left < 0:
            raise too_many(f"more than {MOST_FRAMES} spans, scopes and resources")
        return items

    resources = [
        (resource, [(scope, inner(scope, "spans", "_")) for scope in inner(resource, "scopeSpans", "scope_spans")])
        for resource in inner(request, "resourceSpans", "resource_spans")
    ]
    return _read(resources, allowance)


def _read(resources: list[tuple[Any, list[tuple[Any, list[Any]]]]], allowance: Allowance) -> Iterator[Found]:
    reader = SpanReader(allowance)

    def message(kind: Any, fields: Any) -> Any:
        """Return the message; `Rejected` if it is malformed."""
        if allowance.is_used_up:
            return BEYOND
        try:
            return message_of(kind, fields)
        except MISFITS as error:
            return Rejected(UNREADABLE, str(error))

    for outer, scopes in resources:
        resource = reader.resource(message(ResourceSpans, outer))
        for inner, spans in scopes:
            scope = reader.scope(message(ScopeSpans, inner))
            yield from reader.spans(resource, scope, lambda span: message(Span, span), _taken(spans))


def _parsed(body: bytes | bytearray) -> Any:
    try:
        return orjson.loads(body)
    except ValueError:
        # JavaScript writes half of a character that was cut, which orjson refuses. Then only its span is rejected.
        return json.loads(body)


def _taken(items: list[Any]) -> Iterator[Any]:
    """Yield the items and forget them, so that their memory is freed early."""
    for index, item in enumerate(items):
        items[index] = None
        yield item


def _weigh(body: bytes | bytearray) -> None:
    """Refuse a body that would become too many objects. Each value takes at most 90 bytes for its weight.

    Marks inside strings are excluded only if the total is too high, since finding them takes longer.
    """
    most = JSON_VALUES + len(body) // JSON_BYTES_A_VALUE
    if sum(body.count(mark) * weight for mark, weight in _WEIGHTS.items()) <= most:
        return
    at = total = 0
    while at < len(body):
        found = cast("re.Match[bytes]", _NEXT.match(body, at))
        at, total = found.end(), total + _WEIGHTS.get(found[1], 0)
        if total > most:
            raise too_many("too many objects and values in JSON")


def _malformed(why: str) -> RefusedError:
    return unreadable(f"the body is not an ExportTraceServiceRequest in JSON: {why}")


def message_of(kind: Any, fields: Any) -> Any:
    """Return the message of this type with these fields. The lists in them are emptied.

    Raises an error of MISFITS if they do not fit.
    """
    return kind(**_arguments(kind.DESCRIPTOR, fields, 1))


def _arguments(descriptor: Descriptor, fields: Any, depth: int) -> dict[str, Any]:
    if type(fields) is not dict:
        raise TypeError(f"{str(fields)[:50]} is not an object")
    if depth > _MOST_DEEP:
        raise ValueError(f"it has more than {_MOST_DEEP} nested messages")
    rules = _rules_of(descriptor)
    arguments: dict[str, Any] = {}
    chosen: tuple[str, ...] = ()
    for name, value in cast("dict[str, Any]", fields).items():
        if value is None or name not in rules:
            continue
        field, read, is_list, oneof = rules[name]
        if oneof is not None:
            if oneof in chosen:
                raise ValueError(f"{name} excludes another value that is also set")
            chosen += (oneof,)
        if is_list:
            if type(value) is not list:
                raise TypeError(f"{name} is not a list")
            items: list[Any] = cast("Any", value)
            for index, item in enumerate(items):
                items[index] = read(item, depth + 1)  # in place, so that parsed values are freed early
            arguments[field] = items
        elif (argument := read(value, depth + 1)) is not None:
            arguments[field] = argument
    return arguments


@cache
def _rules_of(descriptor: Descriptor) -> dict[str, tuple[str, _Read, bool, str | None]]:
    """Return the fields of a message by both of their names: argument, reader, whether it is a list, and its oneof."""
    return {
        name: (
            field.name,
            _reader(field),
            isinstance(field.default_value, list),  # older and newer libraries share no attribute for it
            None if field.containing_oneof is None else field.containing_oneof.name,
        )
        for field in descriptor.fields
        for name in (field.name, field.json_name)
    }


def _reader(field: FieldDescriptor) -> _Read:
    if field.message_type is not None:
        return partial(_arguments, field.message_type)
    if field.enum_type is not None:
        return partial(_enum, {name: value.number for name, value in field.enum_type.values_by_name.items()})
    if field.name in _IDS:
        return partial(_id, 2 * _IDS[field.name])
    readers: dict[int, _Read] = {
        FieldDescriptor.TYPE_STRING: partial(_exact, str),
        FieldDescriptor.TYPE_BOOL: partial(_exact, bool),
        FieldDescriptor.TYPE_BYTES: _bytes,
        FieldDescriptor.TYPE_DOUBLE: lambda value, _: float(value),  # also "NaN", "Infinity" and "-Infinity"
    }
    return readers.get(field.type, _integer)


def _exact(kind: type[Any], value: Any, depth: int) -> Any:
    if type(value) is not kind:
        raise TypeError(f"{str(value)[:50]!r} is not a {kind.__name__}")
    return value


def _integer(value: Any, depth: int) -> int:
    number = int(value)
    if type(value) is bool or (type(value) is float and value != number):
        raise ValueError(f"{value} is not an integer")
    return number


def _enum(numbers: dict[str, int], value: Any, depth: int) -> int | None:
    if type(value) is str and not value.isdecimal():
        return numbers.get(value)  # a name of a later version is ignored, as an unknown field is
    return int(value)


def _bytes(value: Any, depth: int) -> bytes:
    encoded = _exact(str, value, depth).encode()
    return base64.urlsafe_b64decode(encoded + b"=" * (4 - len(encoded) % 4))


def _id(digits: int, value: Any, depth: int) -> bytes:
    if len(_exact(str, value, depth)) not in (0, digits):
        raise ValueError(f"{value[:50]!r} does not have {digits} hexadecimal digits")
    return bytes.fromhex(value)
