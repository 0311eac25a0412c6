"""Masks: regular expressions and functions that remove text that must not leave the process.

They apply to every text that is sent: names, content, errors, metadata with its keys, tags. They work on a copy, after
the mapping and before any cut. They fail closed, and the text that they matched is never shown.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Final, TypeAlias, cast

from pandaprobe_otel.mapping.exact_types import type_of
from pandaprobe_otel.process.guard import ask, failed

Mask: TypeAlias = Callable[[str], str]

MASKED: Final = "[masked]"
MASK_FAILED: Final = "[masked: the mask failed]"
_FIELDS: Final = (
    "name", "input", "output", "error", "metadata", "model_parameters", "tags", "session_id", "user_id",
)  # fmt: skip
"""Fields of spans and traces with text of the app; the others hold ids, times, numbers and fixed words."""


def compile_masks(mask: Any) -> tuple[Mask, ...]:
    """Return the masks of a setting: a regular expression (text or compiled), a function, or several of them.

    Raises ValueError for a text that is not a regular expression, and TypeError for any other invalid mask.
    """
    if mask is None:
        return ()
    several = isinstance(mask, Sequence) and not isinstance(mask, (str, bytes))
    given = cast("Iterable[object]", mask) if several else (cast("object", mask),)
    return tuple(_compiled(one) for one in given)


def mask_everything(_: str) -> str:
    """Mask the whole text."""
    return MASKED


def _compiled(mask: object) -> Mask:
    if isinstance(mask, str):
        try:
            mask = re.compile(mask)
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from error
    if isinstance(mask, re.Pattern):
        return partial(cast("re.Pattern[str]", mask).sub, MASKED)
    if callable(mask):
        return cast("Mask", mask)
    raise TypeError(f"{type(mask).__name__} is neither a regular expression nor a function")


def masked(body: dict[str, Any], masks: Sequence[Mask]) -> dict[str, Any]:
    """Return a copy of a span's or trace's body with every text masked; the body is JSON-safe."""
    result = dict(body)
    for field in _FIELDS:
        if field in result:
            result[field] = _masked(result[field], masks)
    if not result.get("name"):
        result["name"] = MASKED  # the server refuses an empty name
    return result


def _masked(value: Any, masks: Sequence[Mask]) -> Any:
    kind = type_of(value)
    if kind is str:
        return masked_text(value, masks)
    if kind is dict:
        return {masked_text(key, masks): _masked(item, masks) for key, item in value.items()}
    if kind is list:
        return [_masked(item, masks) for item in value]
    return value


def masked_text(text: str, masks: Sequence[Mask]) -> str:
    """Return the text with every mask applied; if a mask fails, the whole text is left out."""
    for mask in masks:
        try:
            text = ask(mask, text)
        except BaseException as error:  # noqa: BLE001 - the app's function failed: unmasked text must not be sent
            failed("mask", error)
            return MASK_FAILED
        if type_of(text) is not str:
            return MASK_FAILED
    return text
