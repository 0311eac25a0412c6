"""Types of command-line values."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from importlib import import_module
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import click

_AGO: Final = re.compile(r"(\d+)\s*(s|m|h|d|w)")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


if TYPE_CHECKING:
    ParamType = click.ParamType[Any]
else:
    ParamType = click.ParamType  # Older versions of click have no type arguments.


class Value(ParamType):
    """A type whose values are read by a function, which raises ValueError; `name` is what the help calls a value."""

    def __init__(self, name: str, read: Callable[[str], Any]) -> None:
        self.name = name
        self._read = read

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read a text. Values that are no texts are defaults."""
        if not isinstance(value, str):
            return value
        try:
            return self._read(value)
        except (ValueError, RecursionError) as error:
            self.fail(str(error), param, ctx)


def _moment(text: str) -> datetime:
    if ago := _AGO.fullmatch(text.strip()):
        try:
            return datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        except OverflowError:
            raise ValueError(f"{text!r} is before the first year of the calendar.") from None
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ValueError(f"{text!r} is neither a time such as 2026-01-02T03:04:05Z nor an age such as 24h.") from None
    if moment.tzinfo is None and len(text.strip()) > len("2026-01-02"):
        raise ValueError(f"{text!r} has no time zone: add Z for UTC, or an offset such as +02:00.")
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


def _json(text: str, *, is_object: bool = False, is_file: bool = False) -> Any:
    """Parse a text. Invalid JSON becomes a text, unless the value must be an object or is in a file."""
    if is_file and text != "-":
        text = f"@{text}"
    is_plain = text != "-" and not text.startswith("@")
    content = text if is_plain else _content(text)
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as error:
        if is_plain and not is_object:
            return text
        raise ValueError(f"{'the value' if is_plain else text.removeprefix('@')} is not JSON: {error}.") from None
    if is_object and not isinstance(found, dict):
        raise ValueError('the value must be a JSON object, such as {"key": 1}.')
    return cast("Any", found)


def _content(name: str) -> str:
    if name == "-":
        return sys.stdin.read()
    try:
        return Path(name[1:]).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{name[1:]} cannot be read: {error}.") from None


def _named(text: str, *, needs_number: bool = False) -> tuple[str, float | None]:
    """Parse a name and a number from 0 to 1. A missing name is empty, a missing number is None."""
    if "=" not in text and not needs_number:
        return text, None
    name, _, digits = text.rpartition("=")
    try:
        number = float(digits)
    except ValueError:
        raise ValueError(f"{text}: {digits!r} is not a number.") from None
    if not 0.0 <= number <= 1.0:
        raise ValueError(f"{text!r} is not between 0 and 1.")
    return name, number


def _link(text: str) -> tuple[str, str]:
    name, _, url = text.partition("=")
    if not name or not url.startswith(("http://", "https://")):
        raise ValueError(f"{text!r} is not NAME=URL with an http or https URL.")
    return name, url


def load_function(name: str) -> Callable[..., Any]:
    """Import a function or another callable. Raises UsageError if it does not exist."""
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)  # As `python -m` does: the module is usually in the working directory.
    module, _, attribute = name.partition(":")
    try:
        found: Any = attrgetter(attribute)(import_module(module))
    except (ImportError, AttributeError, ValueError) as error:
        raise click.UsageError(f"{name} cannot be loaded ({error}): pass MODULE:FUNCTION") from error
    if not callable(found):
        raise click.UsageError(f"{name} is not a function: pass MODULE:FUNCTION")
    return cast("Callable[..., Any]", found)


MOMENT: Final = Value("moment", _moment)
"""An ISO date and time with a zone, a date (midnight UTC), or an age such as 24h."""
JSON: Final = Value("JSON|@FILE", _json)
"""A JSON value: the text itself, `@FILE`, or `-` for standard input."""
JSON_OBJECT: Final = Value("JSON|@FILE", partial(_json, is_object=True))
JSON_FILE: Final = Value("file", partial(_json, is_file=True))
"""A file with a JSON value, or `-` for standard input."""
JSON_OBJECT_FILE: Final = Value("file", partial(_json, is_object=True, is_file=True))
METRIC: Final = Value("NAME[=MIN]", _named)
THRESHOLD: Final = Value("NUMBER|METRIC=NUMBER", partial(_named, needs_number=True))
FUNCTION: Final = Value("MODULE:FUNCTION", load_function)
"""A function of the user."""
NAMES: Final = Value("names", lambda text: [name.strip() for name in text.split(",") if name.strip()])
LINK: Final = Value("NAME=URL", _link)
