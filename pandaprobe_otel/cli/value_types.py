"""Types of command-line values."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from importlib import import_module
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, cast

import click

_AGO: Final = re.compile(r"(\d+)\s*(s|m|h|d|w)")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


if TYPE_CHECKING:
    ParamType = click.ParamType[Any]
else:
    ParamType = click.ParamType  # Older versions of click have no type arguments.


class Moment(ParamType):
    """An ISO date and time with a zone, or an age such as 24h."""

    name = "moment"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Read `2026-01-02T03:04:05Z`, `2026-01-02` (midnight UTC) or `24h`."""
        if isinstance(value, datetime):
            return value
        if ago := _AGO.fullmatch(value.strip()):
            return self._ago(value, int(ago[1]), _UNITS[ago[2]])
        try:
            moment = datetime.fromisoformat(value.strip())
        except ValueError:
            self.fail(f"{value!r} is neither a time such as 2026-01-02T03:04:05Z nor an age such as 24h.")
        if moment.tzinfo is None and len(value.strip()) > len("2026-01-02"):
            self.fail(f"{value!r} has no time zone: add Z for UTC, or an offset such as +02:00.")
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment

    def _ago(self, value: str, count: int, unit: str) -> datetime:
        try:
            return datetime.now(UTC) - timedelta(**{unit: count})
        except OverflowError:
            self.fail(f"{value!r} is before the first year of the calendar.")


class Json(ParamType):
    """A JSON value: the text itself, `@FILE`, or `-` for standard input."""

    name = "json"

    def __init__(self, *, is_object: bool = False) -> None:
        self._is_object = is_object

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Parse the value. Invalid JSON becomes a text, unless the value must be an object or is in a file."""
        if not isinstance(value, str):
            return value
        found: object = self._read(value)
        if self._is_object and not isinstance(found, dict):
            self.fail('the value must be a JSON object, such as {"key": 1}.')
        return cast("Any", found)

    def _read(self, value: str) -> Any:
        text = self._content(value)
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            if text == value and not self._is_object:
                return value
            where = "the value" if text == value else value.removeprefix("@")
            self.fail(f"{where} is not JSON: {error}.")

    def _content(self, value: str) -> str:
        if value == "-":
            return sys.stdin.read()
        if not value.startswith("@"):
            return value
        try:
            return Path(value[1:]).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            self.fail(f"{value[1:]} cannot be read: {error}.")


class JsonFile(Json):
    """A file with a JSON value, or `-` for standard input."""

    name = "file"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read the file."""
        return super().convert(value if value == "-" else f"@{value}", param, ctx)


class Named(ParamType):
    """A name with a number from 0 to 1, `NAME=NUMBER`, or only one of the two."""

    def __init__(self, alone: Literal["name", "number"]) -> None:
        self.name = "metric" if alone == "name" else "threshold"
        self._alone = alone

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, float | None]:
        """Parse a name and a number. A missing name is empty, a missing number is None."""
        if isinstance(value, tuple):
            return cast("tuple[str, float | None]", value)
        if self._alone == "name" and "=" not in value:
            return value, None
        name, _, text = str(value).rpartition("=")
        try:
            number = float(text)
        except ValueError:
            self.fail(f"{value}: {text!r} is not a number.")
        if not 0.0 <= number <= 1.0:
            self.fail(f"{value!r} is not between 0 and 1.")
        return name, number


class Function(ParamType):
    """A function of the user, named as `MODULE:FUNCTION`."""

    name = "function"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Callable[..., Any]:
        """Import the function."""
        return cast("Callable[..., Any]", value) if callable(value) else load_function(value)


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


class Names(ParamType):
    """Names, separated by commas."""

    name = "names"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[str]:
        """Split the text."""
        return [name.strip() for name in value.split(",") if name.strip()] if isinstance(value, str) else value


class Link(ParamType):
    """A named link: `NAME=URL`."""

    name = "link"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        """Parse a name and an address."""
        if isinstance(value, tuple):
            return cast("tuple[str, str]", value)
        name, _, url = str(value).partition("=")
        if not name or not url.startswith(("http://", "https://")):
            self.fail(f"{value!r} is not NAME=URL with an http or https URL.")
        return name, url
