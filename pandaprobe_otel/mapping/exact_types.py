"""Exact type of a value, for code that must not be deceived by a subclass or a proxy's `__class__`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, cast

type_of: Final = cast("Callable[[Any], type[Any]]", type)
"""`type` with one argument, and a signature that type checkers accept for values of unknown type."""
