"""Arguments that a tool refused, from the error texts of Python, pydantic and JSON Schema."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

_FAULTS: Final = (
    (
        "missing",
        re.compile(r"missing \d+ required (?:positional|keyword-only) arguments?: (['\"]?[\w.]+['\"]?)"),
    ),
    ("missing", re.compile(r"(['\"][\w.]+['\"]) is a required property")),
    (
        "missing",
        re.compile(
            r"missing (?:a )?required (?:argument|parameter|field|property):? (['\"`]?[\w.]+['\"`]?)", re.IGNORECASE
        ),
    ),
    ("unexpected", re.compile(r"unexpected keyword argument (['\"]?[\w.]+['\"]?)")),
    ("unexpected", re.compile(r"Additional properties are not allowed \((['\"][\w.]+['\"])")),
    ("unexpected", re.compile(r"takes (?:from \d+ to )?\d+ positional arguments? but \d+")),
    ("type", re.compile(r" is not of type (?:[^\n]*\n)+?On instance((?:\[[^\]\n]{1,80}\])+)")),
    ("type", re.compile(r" is not of type ")),
)
_PYDANTIC: Final = re.compile(
    r"\d+ validation errors? for [^\n]*\n(?P<field>[^\n]{1,200})\n[^\n]*\[type=(?P<type>[a-z_]+)"
)
_PYDANTIC_FAULTS: Final = {
    "missing": "missing",
    "missing_argument": "missing",
    "missing_keyword_only_argument": "missing",
    "missing_positional_only_argument": "missing",
    "extra_forbidden": "unexpected",
    "unexpected_keyword_argument": "unexpected",
    "unexpected_positional_argument": "unexpected",
}
_MAX_TEXT: Final = 4000
_INDEX: Final = re.compile(r"\d+")


class BadArgument(NamedTuple):
    """A fault of one argument: `missing`, `type` or `unexpected`."""

    field: str
    fault: str


def bad_argument(text: str) -> BadArgument | None:
    """Return the first fault of arguments in an error's text; None if there is none."""
    text = text[:_MAX_TEXT]
    found = _PYDANTIC.search(text)
    if found is not None:
        return BadArgument(_plain(found["field"]), _PYDANTIC_FAULTS.get(found["type"], "type"))
    for fault, pattern in _FAULTS:
        if (match := pattern.search(text)) is not None:
            return BadArgument(_plain(match[1] if match.re.groups else ""), fault)
    return None


def _plain(field: str) -> str:
    """Return the path of an argument without quotes and list indexes."""
    return _INDEX.sub("*", re.sub(r"['\"`]|\]", "", field.replace("[", ".")).strip(".").strip())
