"""Templates of error messages: the text without the values of one run."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, cast

MAX_LENGTH: Final = 160
_READ: Final = 1000
"""Maximum number of characters of a line that are read."""
_MAX_OBJECT: Final = 8000
_DIGIT: Final = re.compile(r"\d")
_LONG: Final = 32
_PLAIN: Final = re.compile(r"[A-Za-z_][A-Za-z_.]{0,39}")
_TYPE: Final = re.compile(
    r"\s*((?:[A-Za-z_]\w*\.)*[A-Za-z_]\w*(?:Error|Exception|Warning|Timeout|Interrupt|Failure|Fault|Exceeded))"
    r"(?:\s*:\s*|\s*$|(?=\())"
)
_CHANGING: Final = re.compile(
    r"""
    (?P<email>[\w.+-]{1,64}@[\w-]{1,64}(?:\.[\w-]{1,64})+)
  | (?P<url>\b[A-Za-z][A-Za-z0-9+.-]{1,15}://[^\s'"<>)\]}]+)
  | (?P<ip>\b\d{1,3}(?:\.\d{1,3}){3}(?::\d{1,5})?\b | \[[0-9A-Fa-f:]{3,}\](?::\d{1,5})?)
  | (?P<date>\b\d{4}-\d\d?-\d\d?(?:[T ]\d\d?:\d\d(?::\d\d)?(?:[.,]\d+)?(?:Z|\s?[+-]\d\d:?\d\d)?)?
      | \b\d{1,2}[./]\d{1,2}[./]\d{2,4}\b
      | \b\d{1,2}\s(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]{0,6}\.?,?\s\d{4}\b
      | \b(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]{0,6}\.?\s\d{1,2},?\s\d{4}\b
      | \b\d\d?:\d\d(?::\d\d(?:[.,]\d+)?)?(?:\s?[AaPp][Mm])?\b)
  | (?P<path>(?:(?<![\w/\\])(?:[A-Za-z]:|~|\.{1,2})?)(?:[/\\][\w.~+@%-]+){2,}[/\\]?)
  | (?P<quoted>(?<!\w)'[^'\n]*'(?!\w) | "[^"\n]*" | `[^`\n]*` | “[^”\n]*”)
  | (?P<duration>(?<![\w.-])[-+]?\d[\d.,]*\s?(?:ns|us|µs|ms|s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?|d|days?)\b
      (?:\s?\d+\s?(?:ms|s|m|min)\b)*)
  | (?P<value>(?<!\w)[-+]?\d+(?:[.,_/:]\d+)*(?:[eE][-+]?\d+)?%?(?!\w|-\w) | [\w+/=-]{64,})
  | (?P<word>\w+(?:[-.]\w+)*)
    """,
    re.VERBOSE,
)
_REPEATED: Final = re.compile(r"(<[a-z]+>)(?:(?:\s*[,;/|]\s*|\s+(?:and\s+|or\s+)?|\s*-\s*)\1)+")
_MEMBERS: Final = ("code", "status", "message")


def template_of(text: str, *, known: Iterable[str | None] = ()) -> str:
    """Return the first line of a message with placeholders for variable parts; at most 160 characters.

    Of an error in JSON, only code and message are kept. `known` are values of the run, such as its model and user.
    """
    line = _first_line(_of_object(text))[:_READ]
    for value in known:
        if value and len(value) > 2 and value in line:
            line = line.replace(value, "<value>")
    line = _REPEATED.sub(r"\1", _CHANGING.sub(_mark, line))
    return " ".join(line.split())[:MAX_LENGTH]


def split_type(text: str) -> tuple[str | None, str]:
    """Split a text that begins with an exception's name (`LookupError: no order`). Return the name and the rest."""
    found = _TYPE.match(text[:_READ])
    return (None, text) if found is None else (found[1].rpartition(".")[2], text[found.end() :])


def _mark(found: re.Match[str]) -> str:
    name, text = found.lastgroup, found[0]
    if name == "quoted":
        return text if _PLAIN.fullmatch(text[1:-1]) else f"{text[0]}<text>{text[-1]}"
    if name != "word":
        return f"<{name}>"
    return "<value>" if len(text) >= _LONG or _DIGIT.search(text) else text


def _first_line(text: str) -> str:
    return next((line for line in text.strip().splitlines() if line.strip()), "")


def _of_object(text: str) -> str:
    """Replace an object in an error's text, written as JSON or Python, by its code and message."""
    start = text.find("{", 0, _READ)
    if start < 0:
        return text
    end = text.rfind("}", start, start + _MAX_OBJECT) + 1
    found = _read(text[start:end])
    inner = found.get("error", found)
    error = cast("Mapping[str, Any]", inner) if isinstance(inner, Mapping) else {"message": inner, **found}
    told = [str(error[name]) for name in _MEMBERS if isinstance(error.get(name), str | int)]
    return f"{text[:start].rstrip(' -:')}: {': '.join(told)}" if told else text


def _read(text: str) -> Mapping[str, Any]:
    for read in (json.loads, ast.literal_eval):
        try:
            found: Any = read(text)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            continue
        if isinstance(found, dict):
            return cast("Mapping[str, Any]", found)
    return {}
