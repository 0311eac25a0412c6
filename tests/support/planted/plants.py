"""Planted marks, and the table of calls that have them."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from provider_server import ProviderServer


class Plants:
    """Marks of one call, by the name of the place that contains them."""

    def __init__(self) -> None:
        self.marks: dict[str, str] = {}

    def text(self, place: str) -> str:
        """Return a text that occurs nowhere else."""
        return self._new(place, f"planted-{place.replace(' ', '-')}.")

    def number(self, place: str) -> int:
        """Return a number that occurs nowhere else."""
        number = 7_000_001 + 1000 * len(self.marks)
        self._new(place, str(number))
        return number

    def picture(self, place: str) -> str:
        """Return bytes as base64; the trace shows their digest."""
        data = f"picture of {place}".encode()
        self._new(place, hashlib.sha256(data).hexdigest())
        return base64.b64encode(data).decode()

    def data_url(self, place: str) -> str:
        """Return such bytes as a data URL."""
        return f"data:image/png;base64,{self.picture(place)}"

    def sealed(self) -> str:
        """Return a credential, which must not be recorded."""
        return SEALED

    def missing(self, told: Any) -> list[str]:
        """Return the places whose marks are not in the recorded values."""
        found = json.dumps(told, default=str)
        return [place for place, mark in self.marks.items() if mark not in found]

    def _new(self, place: str, mark: str) -> str:
        assert place not in self.marks, place
        self.marks[place] = mark
        return mark


SEALED: Final = "sealed-credential"
Call = Callable[[ProviderServer, Plants], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Planted:
    """One call of the table."""

    library: str
    make: Call


CALLS: Final[dict[str, Planted]] = {}


def planted(library: str, name: str) -> Callable[[Call], Call]:
    """Add a call to the table; the call scripts the server and sends the request."""

    def add(make: Call) -> Call:
        CALLS[f"{library} {name}"] = Planted(library=library, make=make)
        return make

    return add
