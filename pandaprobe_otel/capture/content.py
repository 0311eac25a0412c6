"""Content of a span: values as JSON text, encoded before they can change, and the items of a stream."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import orjson

from pandaprobe_otel.mapping.clean import encode as encode_carefully
from pandaprobe_otel.mapping.values import type_of
from pandaprobe_otel.process.guard import failed, pass_on

MAX_TEXT_CHARS: Final = 200_000
"""Bound on the kept text of a stream; the rest is only counted. Less than the encoder's bound of 256 KiB."""
REDUCE_FAILED: Final = "[left out: reduce failed]"
MAX_ITEMS: Final = 10_000
"""Bound on the items of a stream that are kept for `reduce`."""

# The most common types of results, checked before the slower check for iterators.
_PLAIN: Final = frozenset({str, dict, list, tuple, int, float, bool, type(None)})

_ITEM_OVERHEAD: Final = 32
"""Size counted for an item in addition to its text, so that a million tiny items are bounded too."""

_SCALARS: Final = frozenset({int, bool, float, type(None)})
# Two levels of 16 texts of 256 characters are below every bound, so such values need no further check.
_FEW: Final = 16
_SHORT: Final = 256


def encode(value: Any, max_bytes: int = 262_144, *, vectors: bool = True) -> str:
    """Return the value as JSON text of at most `max_bytes` bytes (at least 256). Never raises because of the value.

    Without `vectors`, a marker replaces each list or array of numbers.
    """
    kind = type_of(value)
    if kind is str:
        is_simple = len(value) * 4 <= max_bytes
    else:
        is_simple = kind in _SCALARS or (vectors and (kind is dict or kind is list) and _is_simple(value, 1))
    if is_simple:
        # At most half the cost of `encode_carefully`, for the arguments and results of most calls.
        try:
            text = orjson.dumps(value).decode()
        except (TypeError, ValueError) as error:  # a key that is not text, a lone surrogate, a number over 64 bits
            pass_on(error)
        else:
            if len(text) * 4 <= max_bytes and "\\u0000" not in text:
                return text
    return encode_carefully(value, max_bytes, vectors=vectors)


def _is_simple(value: Any, levels_below: int) -> bool:
    """Return whether a dict or list has few elements: numbers, short texts and, `levels_below` deep, similar ones."""
    kind = type_of(value)
    if len(value) > _FEW:
        return False
    for item in tuple(value.values()) if kind is dict else value:
        kind = type_of(item)
        if kind is str:
            if len(item) > _SHORT:
                return False
        elif kind not in _SCALARS and not (
            levels_below and (kind is dict or kind is list) and _is_simple(item, levels_below - 1)
        ):
            return False
    return True


def is_result(value: object) -> bool:
    """Return whether a returned value is a result. None and an unread stream are not results."""
    kind = type_of(value)
    if kind in _PLAIN:
        return value is not None
    return not (hasattr(kind, "__next__") or hasattr(kind, "__anext__") or hasattr(kind, "__await__"))


class StreamContent:
    """The items that a generator yielded, in bounded memory: joined text, or a JSON array.

    Each item is encoded when it passes, so the user's objects are not kept alive, and later changes do not show. With
    `reduce`, the items themselves are kept (at most `MAX_ITEMS`, at most `MAX_TEXT_CHARS` of text) and passed to it as
    a list at the end.
    """

    __slots__ = ("_items", "_left", "_missing", "_parts", "_reduce", "_seen", "_texts")

    def __init__(self, reduce: Callable[[list[Any]], Any] | None = None) -> None:
        self._reduce = reduce
        self._items: list[Any] = []
        self._texts: list[str] = []
        self._parts: list[str] = []
        self._left = MAX_TEXT_CHARS
        self._missing = 0
        self._seen = 0

    def __bool__(self) -> bool:
        return self._seen > 0

    def add(self, item: Any) -> None:
        """Add one yielded item."""
        self._seen += 1
        if self._reduce is not None:
            self._keep(item)
        elif type(item) is str and not self._parts:
            self._join(item)
        else:
            if self._texts:  # from here on, the items are a list
                self._parts = [encode(text) for text in self._texts]
                self._texts = []
                self._missing = min(self._missing, 1)
            self._append(item)

    def text(self) -> str:
        """Return all items as JSON text, or a marker if the user's `reduce` fails. The stream is not affected."""
        if self._reduce is not None:
            try:
                return encode(self._reduce(self._items))
            except KeyboardInterrupt:  # raised in the app's thread, the interrupt belongs to the app
                raise
            except BaseException as error:  # noqa: BLE001 - the user's `reduce` ran; counted and logged
                failed("reduce", error)
                return encode(REDUCE_FAILED)
        if self._parts:
            missing = [encode(f"…[cut: {self._missing} more items]")] if self._missing else []
            return f"[{','.join(self._parts + missing)}]"
        text = "".join(self._texts)
        return encode(f"{text}…[cut {self._missing} more characters]" if self._missing else text)

    def missing_from_text(self, returned: object) -> dict[str, object]:
        """Return data missing from the output: a generator's return value, and items that `reduce` has not seen."""
        missing: dict[str, object] = {}
        if returned is not None:
            missing["returned"] = returned
        if self._reduce is not None and self._missing:
            missing["output_cut"] = f"…[cut: {self._missing} more items]"
        return missing

    def _keep(self, item: Any) -> None:
        size = len(item) if isinstance(item, (str, bytes)) else 0
        if len(self._items) < MAX_ITEMS and size <= self._left:
            self._items.append(item)
            self._left -= size
        else:
            self._missing += 1

    def _join(self, text: str) -> None:
        kept = text if len(text) <= self._left else text[: self._left]
        if kept:
            self._texts.append(kept)
            self._left -= len(kept)
        self._missing += len(text) - len(kept)

    def _append(self, item: Any) -> None:
        if self._left <= 0:
            self._missing += 1
            return
        part = encode(item, self._left)
        self._parts.append(part)
        self._left -= len(part) + _ITEM_OVERHEAD
