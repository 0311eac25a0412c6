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
from collections.abc import Callable, Mapping, Set
from enum import Enum
from itertools import islice
from operator import attrgetter, methodcaller
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
_PLAIN_CONTAINERS: Final[frozenset[Any]] = frozenset({dict, list, tuple})
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
    seen, lengths = _survey(value)
    total = sum(lengths)
    if vectors and seen <= _MAX_SURVEY and total <= max_bytes:
        try:  # `default` would lose an interrupt that strikes in it
            data = orjson.dumps(value, option=_OPTIONS)
        except (TypeError, ValueError, RecursionError, RuntimeError) as error:
            pass_on(error)  # not representable in JSON, or changed by another thread
        else:
            # Excluding the short pattern is four times faster than excluding the long one.
            if not (b"\\u0" in data and b"\\u0000" in data):
                return (
                    data if len(data) <= max_bytes else orjson.dumps(shrink(orjson.loads(data), max_bytes))
                ).decode()
    # The longest texts are cut first, to keep the total near the limit.
    excess = total - 2 * max_bytes
    longest = max_bytes if excess <= 0 else min(level_of(sorted(lengths), excess), max_bytes)
    cleaner = _Cleaner(max_text=longest, room=4 * max_bytes, max_nodes=MAX_LOOKS, vectors=vectors)
    return orjson.dumps(shrink(cleaner.clean(value), max_bytes)).decode()


def _survey(value: object) -> tuple[int, list[int]]:
    """Return the number of values in plain containers, and the lengths of the texts; stop after `MAX_LOOKS` values.

    It protects against values that grow without bound in the encoder (`x = [x, x]` fifty times).
    """
    seen, lengths, level = 0, list[int](), [cast("Any", (value,))]
    while level:
        below: list[Any] = []
        for node in level:
            seen += len(node)
            items = node.values() if type_of(node) is dict else node
            for item in _first(items, max(MAX_LOOKS - seen, _FEW)):
                kind = type_of(item)
                if kind is str:
                    lengths.append(len(item))
                elif kind in _PLAIN_CONTAINERS:
                    below.append(item)
            if seen > MAX_LOOKS:
                return seen, lengths
        level = below
    return seen, lengths


class _Cleaner:
    """State of one cleaning: how many values and characters it may still produce, and the open containers."""

    def __init__(
        self, *, max_text: int | None = None, room: int = 0, max_nodes: int = MAX_NODES, vectors: bool = True
    ) -> None:
        self._vectors = vectors
        self._nodes_left = max_nodes
        self._max_text = max_text
        self._room = room
        self._inside: set[int] = set()

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
        if self._nodes_left <= 0:
            return TOO_MANY
        if depth >= MAX_DEPTH:
            return f"…[cut: {kind.__name__} nested too deeply]"
        place = id(value)
        if place in self._inside:
            return f"…[cut: this {kind.__name__} contains itself]"
        self._inside.add(place)
        try:
            if not self._vectors and (numbers := _numbers_in(value)):
                return vector_marker(numbers)
            if isinstance(value, Mapping):
                return self._mapping(cast("Mapping[object, object]", value), depth)
            if isinstance(value, (list, tuple, Set, deque)):
                return self._sequence(cast("Any", value), depth)
            return self._object(value, depth)
        except Exception as error:  # noqa: BLE001 - code of the app's value ran; the app must not notice
            counted("the content of a value", error)
            return clean_text(f"<{kind.__name__}: cannot be shown>")
        finally:
            self._inside.discard(place)

    def _text(self, text: str) -> Json:
        if self._max_text is None:
            return clean_text(text)
        longest = self._max_text if self._room > 0 else min(self._max_text, MIN_TEXT)
        self._room -= min(len(text), longest)
        if len(text) <= longest:
            return clean_text(text)
        return digest_of_data_url(text) or clean_text(cut_text(text, longest))

    def _share(self, depth: int, first: Any) -> int:
        """Return the number of items to visit in a container, assuming that all resemble the first one.

        Part of the allowance is left for the content of the items and for the values after the container.
        """
        left = self._nodes_left if depth == 0 else -(-self._nodes_left // 2)
        return -(-left // (1 + min(len(first), _FEW))) if type_of(first) in _PLAIN_CONTAINERS else left

    def _mapping(self, value: Mapping[object, object], depth: int) -> Json:
        most = self._share(depth, next(iter(value.values()), None))
        items = _first(value.items(), most + 1)
        result: dict[str, Json] = {}
        for key, item in items[:most]:
            self._nodes_left -= 1
            result[_key(key)] = self.clean(item, depth + 1)
        if len(items) > most:
            total = len(value) if type_of(value) is dict else 0
            result["…"] = f"[cut {total - most} of {total} keys]" if total else TOO_MANY[1:]
        return result

    def _sequence(self, value: Any, depth: int) -> Json:
        if type_of(value) in _PLAIN_CONTAINERS:
            total = len(value)
            most = self._share(depth, value[0] if total else None)
            place = -(-most // 2)
            cut = f"…[cut {total - most} of {total} items]" if total > most else ""
            items = [*value[:place], *value[total - most // 2 :]] if cut else [*value]
        else:
            place = self._share(depth, None)
            items = _first(value, place + 1)
            cut = TOO_MANY if len(items) > place else ""
            del items[place:]
            if isinstance(value, Set):
                items = _in_order(items)
        self._nodes_left -= len(items)
        result = [self.clean(item, depth + 1) for item in items]
        if cut:
            result.insert(place, cut)
        return result

    def _object(self, value: Any, depth: int) -> Json:
        if isinstance(value, (bytes, bytearray, memoryview)):
            data: Any = cast("Any", value)
            size = memoryview(data).nbytes
            if size > _MAX_DIGEST:  # hashing it would cost too much here
                return {"mime_type": mime_type_of(bytes(data[:8])), "bytes": size}
            return digest_of(bytes(data))
        for kinds, plain in _KINDS:
            if isinstance(value, kinds):
                return self.clean(plain(value), depth + 1)
        inner = str(value) if type_of(value).__name__ in _EXACT_NUMBERS else _fields(value)
        if inner is not None:
            return self.clean(inner, depth + 1)
        text = clean_text(repr(value))
        return text if len(text) <= MAX_REPR else cut_text(text, MAX_REPR)


_KINDS: Final[tuple[tuple[Any, Callable[[Any], Any]], ...]] = (
    (Enum, attrgetter("value")),
    (str, str.__str__),
    (int, int.__int__),
    (float, float.__float__),
    ((datetime.datetime, datetime.date, datetime.time), methodcaller("isoformat")),
    (datetime.timedelta, datetime.timedelta.total_seconds),
    ((uuid.UUID, PurePath), str),
    (BaseException, lambda error: f"{type(error).__name__}: {error}"),
)
"""Classes that are well known or derive from a plain type, with functions that return the plain value."""


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
    if type_of(items) in _SIZED and len(items) <= count:
        return list(items)  # an atomic copy
    try:
        return list(islice(items, count))
    except RuntimeError as error:  # another thread has changed it
        pass_on(error)
        return list(items)[:count]


def _integer(value: int) -> int | str:
    if _MIN_INT <= value <= _MAX_INT:
        return value
    bits = value.bit_length()
    if bits > _MAX_BITS:
        return f"…[cut: a number of {bits} bits]"
    # Python refuses to convert a number of more than 4300 digits to text.
    return str(value) if bits < 4096 else hex(value)


def _key(key: object) -> str:
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


def _in_order(items: list[Any]) -> list[Any]:
    """Sort the items of a set, so that equal sets give the same text."""
    try:
        return sorted(items)
    except Exception as error:  # noqa: BLE001 - they are of different types, or code of the app's elements ran
        pass_on(error)
        return sorted(items, key=_safe_repr)


def _safe_repr(value: object) -> str:
    try:
        return repr(value)
    except Exception as error:  # noqa: BLE001 - code of the app's value ran
        counted("the text of a value", error)
        return type(value).__name__


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
