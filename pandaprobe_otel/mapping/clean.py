"""Conversion of any Python value to one that JSON can hold and PandaProbe can store.

Invariants of the result: no NUL, no lone surrogate, no non-finite number, no integer that the encoder refuses, only
text keys, at most `MAX_DEPTH` levels (the server fails at 255, measured on server 0.5.0), at most `MAX_NODES` values.
Code of the value itself (`__repr__`, `model_dump`) may run; if it raises, a placeholder replaces the value.
"""

from __future__ import annotations

import dataclasses
import datetime
import math
import uuid
from collections import deque
from collections.abc import Iterable, Mapping, Set
from enum import Enum
from itertools import islice
from pathlib import PurePath
from typing import Any, Final, TypeAlias, cast

import orjson

from pandaprobe_otel.mapping.text import (
    MIN_TEXT,
    clean_text,
    cut_text,
    digest_of,
    digest_of_data_url,
    level_of,
    mime_type_of,
    shrink,
)
from pandaprobe_otel.mapping.values import type_of
from pandaprobe_otel.process.guard import counted, pass_on

Json: TypeAlias = Any
"""None, bool, int, float, str, list or dict with text keys."""

TOO_MANY: Final = "…[cut: too many values]"
MAX_DEPTH: Final = 100
MAX_NODES: Final = 100_000
MAX_LOOKS: Final = 20_000
"""Bound on the values that `encode` visits, because it runs in the app's threads; the rest is cut first."""
MAX_REPR: Final = 1000
_MAX_DIGEST: Final = 16 << 20
_MAX_BITS: Final = 1 << 20
_MAX_SURVEY: Final = 4096
_FEW: Final = 16
_EMPTY: Final[dict[str, Any]] = {}
_SIZED: Final[frozenset[Any]] = frozenset(
    {type(_EMPTY.values()), type(_EMPTY.items()), list, tuple, set, frozenset, deque}
)
_EXACT_NUMBERS: Final = frozenset({"Decimal", "Fraction"})
"""Class names, so that neither module is imported. The text of these numbers is exact; a float would not be."""
_MIN_INT: Final = -(1 << 63)
_MAX_INT: Final = (1 << 64) - 1
# Values that orjson would walk by itself, unseen by the survey, go through `_Cleaner` instead.
_OPTIONS: Final = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_SUBCLASS


def clean(value: object) -> Json:
    """Return the value as JSON-safe data that `orjson.dumps` accepts. Never raises.

    - bytes become `{mime_type, bytes, sha256}`
    - sets, tuples and other collections become lists
    - enum members become their value
    - dates become ISO text
    - decimals and fractions become their digits
    - models and dataclasses become objects
    - exceptions become `Type: message`
    - all other values become their `repr`
    """
    return _Cleaner().clean(value)


def encode(value: object, max_bytes: int = 262_144, *, vectors: bool = True) -> str:
    """Return the value as JSON text of at most `max_bytes` bytes, with a marker at each cut.

    Without `vectors`, a marker replaces each list or array of numbers.

    Never raises. Long texts are cut before they are copied, and at most `MAX_LOOKS` values are visited. `max_bytes` is
    at least 256.
    """
    max_bytes = max(max_bytes, 256)
    survey = _Survey(value, max_bytes)
    if survey.is_small and vectors:
        data = _encoded_directly(value)
        # Excluding the short pattern is four times faster than excluding the long one.
        if data and not (b"\\u0" in data and b"\\u0000" in data):
            return (data if len(data) <= max_bytes else orjson.dumps(shrink(orjson.loads(data), max_bytes))).decode()
    cleaner = _Cleaner(max_text=survey.longest(max_bytes), room=4 * max_bytes, max_nodes=MAX_LOOKS, vectors=vectors)
    cleaned = cleaner.clean(value)
    return orjson.dumps(shrink(cleaned, max_bytes)).decode()


def _encoded_directly(value: object) -> bytes:
    """Return the JSON of plain data, empty for other values. `default` would lose an interrupt that strikes in it."""
    try:
        return orjson.dumps(value, option=_OPTIONS)
    except (TypeError, ValueError, RecursionError, RuntimeError) as error:
        pass_on(error)
        return b""  # not representable in JSON, or changed by another thread


class _Survey:
    """Quick survey of a value's plain containers and the lengths of its texts.

    It protects against values that grow without bound in the encoder (`x = [x, x]` fifty times).
    """

    def __init__(self, value: object, max_bytes: int) -> None:
        self.is_small = False
        """True if the containers are few and shallow and hold at most `max_bytes` of text."""
        self._lengths: list[int] = []
        level: list[Any] = [(value,)]
        seen = 0
        for _ in range(MAX_DEPTH + 1):
            below: list[Any] = []
            for node in level:
                seen += len(node)
                items = node.values() if type_of(node) is dict else node
                for item in _first(items, max(MAX_LOOKS - seen, _FEW)):
                    kind = type_of(item)
                    if kind is str:
                        self._lengths.append(len(item))
                    elif kind is dict or kind is list or kind is tuple:
                        below.append(item)
                if seen > MAX_LOOKS:
                    return
            if not below:
                self.is_small = seen <= _MAX_SURVEY and sum(self._lengths) <= max_bytes
                return
            level = below

    def longest(self, max_bytes: int) -> int:
        """Return the length to which the longest texts must be cut to keep the total near the limit."""
        excess = sum(self._lengths) - 2 * max_bytes
        return max_bytes if excess <= 0 else min(level_of(sorted(self._lengths), excess), max_bytes)


class _Cleaner:
    """State of one cleaning: how many values and characters it may still produce, and the open containers."""

    __slots__ = ("inside", "max_text", "nodes_left", "room", "vectors")

    def __init__(
        self, *, max_text: int | None = None, room: int = 0, max_nodes: int = MAX_NODES, vectors: bool = True
    ) -> None:
        self.vectors = vectors
        self.nodes_left = max_nodes
        self.max_text = max_text
        self.room = room
        self.inside: set[int] = set()

    def clean(self, value: Any, depth: int = 0) -> Json:
        kind = type_of(value)
        if kind is str:
            return self._text(value)
        if value is None or kind is bool:
            return value
        if kind is int:
            return _integer(value)
        if kind is float:
            return value if math.isfinite(value) else None
        if self.nodes_left <= 0:
            return TOO_MANY
        if depth >= MAX_DEPTH:
            return f"…[cut: {kind.__name__} nested too deeply]"
        if id(value) in self.inside:
            return f"…[cut: this {kind.__name__} contains itself]"
        self.inside.add(id(value))
        try:
            return self._container(value, kind, depth)
        except Exception as error:  # noqa: BLE001 - code of the app's value ran; the app must not notice
            counted("the content of a value", error)
            return clean_text(f"<{kind.__name__}: cannot be shown>")
        finally:
            self.inside.discard(id(value))

    def _text(self, text: str) -> Json:
        if self.max_text is None:
            return clean_text(text)
        longest = self.max_text if self.room > 0 else min(self.max_text, MIN_TEXT)
        self.room -= min(len(text), longest)
        if len(text) <= longest:
            return clean_text(text)
        digest = digest_of_data_url(text)
        return digest if digest is not None else clean_text(cut_text(text, longest))

    def _container(self, value: object, kind: type, depth: int) -> Json:
        if not self.vectors and (numbers := _numbers_in(value)):
            return vector_marker(numbers)
        if kind is dict or isinstance(value, Mapping):
            return self._mapping(cast("Mapping[object, object]", value), depth)
        if kind is list or kind is tuple or isinstance(value, (list, tuple, Set, deque)):
            return self._sequence(cast("Iterable[object]", value), depth)
        return self._object(value, depth)

    def _share(self, depth: int, first: object) -> int:
        """Return the number of items to visit in a container, assuming that all resemble the first one.

        Part of the allowance is left for the content of the items and for the values after the container.
        """
        left = self.nodes_left if depth == 0 else -(-self.nodes_left // 2)
        kind = type_of(first)
        is_container = kind is dict or kind is list or kind is tuple
        return -(-left // (1 + min(len(cast("Any", first)), _FEW))) if is_container else left

    def _mapping(self, value: Mapping[object, object], depth: int) -> Json:
        if type_of(value) is dict:
            most = self._share(depth, next(iter(value.values()), None))
            items = _first(value.items(), most + 1)
        else:
            rest = iter(value.items())
            items = list(islice(rest, 1))
            most = self._share(depth, items[0][1] if items else None)
            items += islice(rest, most)
        result: dict[str, Json] = {}
        for key, item in items[:most]:
            self.nodes_left -= 1
            result[_key(key)] = self.clean(item, depth + 1)
        if len(items) > most:
            total = len(value) if type_of(value) is dict else 0
            result["…"] = f"[cut {total - most} of {total} keys]" if total else TOO_MANY[1:]
        return result

    def _sequence(self, value: Iterable[object], depth: int) -> Json:
        kind = type_of(value)
        if kind is list or kind is tuple:
            items: Any = value
            total = len(items)
            most = self._share(depth, items[0] if total else None)
            marker = f"…[cut {total - most} of {total} items]" if total > most else ""
            place = (most + 1) // 2
            items = [*items[:place], *items[total - most // 2 :]] if marker else list(items)
        else:
            place = most = self._share(depth, None)
            items = _first(value, most + 1)
            marker = TOO_MANY if len(items) > most else ""
            del items[most:]
            if isinstance(value, Set):
                items = _in_order(items)
        self.nodes_left -= len(items)
        result = [self.clean(item, depth + 1) for item in items]
        if marker:
            result.insert(place, marker)
        return result

    def _object(self, value: object, depth: int) -> Json:
        if isinstance(value, Enum):
            return self.clean(value.value, depth + 1)
        if isinstance(value, (bytes, bytearray, memoryview)):
            data: Any = cast("Any", value)
            size = memoryview(data).nbytes
            if size > _MAX_DIGEST:  # hashing it would cost too much here
                return {"mime_type": mime_type_of(bytes(data[:8])), "bytes": size}
            return digest_of(bytes(data))
        if (plain := _scalar(value)) is not None:
            return self.clean(plain, depth + 1)
        inner = _fields(value)
        if inner is not None:
            return self.clean(inner, depth + 1)
        text = clean_text(repr(value))
        return text if len(text) <= MAX_REPR else cut_text(text, MAX_REPR)


def vector_marker(numbers: int) -> str:
    """Return the marker that replaces an embedding."""
    return f"[vector of {numbers} numbers]"


def _numbers_in(value: Any) -> int:
    """Return the size of a list or array of numbers, judged by its ends; 0 for anything else."""
    kind = type_of(value)
    if kind is list or kind is tuple:
        ends = (*value[:_FEW], *value[-_FEW:])
        return len(value) if ends and all(type_of(item) is float or type_of(item) is int for item in ends) else 0
    shape: Any = getattr(value, "shape", None)  # of NumPy, PyTorch and their like
    if not isinstance(shape, tuple) or not all(type_of(side) is int for side in cast("tuple[object, ...]", shape)):
        return 0
    return math.prod(cast("tuple[int, ...]", shape))


def _first(items: Any, count: int) -> list[Any]:
    """Return the first items of a container, which may be endless or may be changed by other threads."""
    if type_of(items) not in _SIZED:
        return list(islice(items, count))
    if len(items) > count:
        try:
            return list(islice(items, count))
        except RuntimeError as error:  # another thread has changed it
            pass_on(error)
            return list(items)[:count]
    return list(items)  # an atomic copy


def _integer(value: int) -> int | str:
    if _MIN_INT <= value <= _MAX_INT:
        return value
    bits = value.bit_length()
    if bits > _MAX_BITS:
        return f"…[cut: a number of {bits} bits]"
    # Python refuses to convert a number of more than 4300 digits to text.
    return str(value) if bits < 4096 else hex(value)


def _key(key: object) -> str:
    if type(key) is str:
        return clean_text(key)
    if isinstance(key, Enum):
        return _key(key.value)
    if isinstance(key, str):
        return clean_text(str.__str__(key))
    if key is None or isinstance(key, bool):
        return {None: "null", True: "true", False: "false"}[key]
    try:
        return clean_text(str(key))[:MAX_REPR]
    except Exception as error:  # noqa: BLE001 - code of the app's key ran
        counted("the text of a key", error)
        return f"<{type(key).__name__}>"


def _in_order(items: list[object]) -> list[object]:
    """Sort the items of a set, so that equal sets give the same text."""
    try:
        return sorted(items)  # type: ignore[type-var]
    except TypeError as error:  # of different types
        pass_on(error)
        return sorted(items, key=_safe_repr)
    except Exception as error:  # noqa: BLE001 - code of the app's elements ran
        counted("the order of a set", error)
        return sorted(items, key=_safe_repr)


def _safe_repr(value: object) -> str:
    try:
        return repr(value)
    except Exception as error:  # noqa: BLE001 - code of the app's value ran
        counted("the text of a value", error)
        return type(value).__name__


def _scalar(value: object) -> object | None:
    """Return the plain value of an object whose class is well known or derives from a plain type; None for others."""
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int.__int__(value)
    if isinstance(value, float):
        return float.__float__(value)
    if isinstance(value, (datetime.datetime, datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    if isinstance(value, uuid.UUID):
        return str(value)
    if isinstance(value, PurePath) or type_of(value).__name__ in _EXACT_NUMBERS:
        return str(value)
    if isinstance(value, BaseException):
        return f"{type(value).__name__}: {value}"
    return None


def _fields(value: object) -> Any:
    """Return the data in a model, a dataclass or a small array; None for other objects."""
    kind = type_of(value)
    if isinstance(value, type):
        return None
    dump = getattr(kind, "model_dump", None)
    if callable(dump):
        return dump(value)
    if dataclasses.is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    size = getattr(value, "size", None)
    if type(size) is int and size <= MAX_REPR and callable(listed := getattr(kind, "tolist", None)):
        return listed(value)
    return None
